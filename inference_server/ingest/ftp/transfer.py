# SPDX-License-Identifier: AGPL-3.0-or-later
"""One upload's data connection: how fast it reads, what ends it, and what the client is told."""

import logging
import socket
import sys
from concurrent.futures import Future
from typing import override

from OpenSSL import SSL
from pyftpdlib.exceptions import _RetryError
from pyftpdlib.handlers import FTPHandler, ThrottledDTPHandler, TLS_DTPHandler

from inference_server.ingest.ftp.house import House
from inference_server.ingest.ftp.upload import GaveWayError, TooLargeError, Upload
from inference_server.settings import IngestSettings

_LOGGER = logging.getLogger(__name__)

GRACE_SECONDS = 0.02
"""How long the end of the data waits for the end of the control connection: a client that dies closes both."""

DRAINED_CHUNKS = 64
"""Of up to 64 KiB each: more than sockets hold."""


class Transfer(ThrottledDTPHandler):
    """Receives an upload. It is complete when the client ends the data and stays; else its part is kept."""

    auto_sized_buffers = False
    """A smaller buffer than a TLS record would leave bytes where no poll of sockets sees them."""

    _throttler = None
    """pyftpdlib's own, which it asks for also when the connection ends before it is made."""
    house: House

    def __init__(self, sock: socket.socket, session: FTPHandler) -> None:
        """Take the connection; the session gives it an upload or a list to send."""
        self.timeout = self.house.settings.idle_seconds
        self.read_limit = self.house.settings.max_bytes_per_second
        self._ended = False
        super().__init__(sock, session)

    @override
    def handle_read_event(self) -> None:
        try:
            chunk = self.recv(self.ac_in_buffer_size)
        except _RetryError:
            return
        except OSError:
            self.handle_error()
            return
        if chunk:
            self.tot_bytes_received += len(chunk)
            self._write(chunk)

    def drain(self) -> None:
        """Read what has come already: the client has ended its session and may have sent all."""
        for _ in range(DRAINED_CHUNKS):
            before = self.tot_bytes_received
            if self.receive and not self._closed and not self._ended:
                self.handle_read_event()
            if self.tot_bytes_received == before:
                return

    def _write(self, chunk: bytes) -> None:
        try:
            self.file_obj.write(chunk)
        except TooLargeError:
            self.file_obj.discard()
            limit = self.house.settings.max_file_bytes
            self._fail(f"552 The file is larger than {limit} bytes (ftp.max_file_bytes).")
        except GaveWayError:
            self._fail("426 A newer upload of the same file has begun.")
        except OSError as error:
            self.file_obj.discard()
            self._fail(f"452 The file cannot be stored: {error.strerror}.")

    def _fail(self, reply: str) -> None:
        self._resp = (reply, None)
        self.cmd_channel.warn(reply)
        self.close()

    @override
    def handle_close(self) -> None:
        """Go on when the client has ended the connection, by whatever means."""
        if not self.receive:
            super().handle_close()
        elif _is_reset(sys.exception()):
            self._fail("426 The connection broke; what came is kept for a while and can be resumed.")
        elif not self._ended:
            self._ended = True
            self.del_channel()
            self.call_later(GRACE_SECONDS, self._place)

    def _place(self) -> None:
        self.file_obj.finish()
        self.house.thread.deliver(self.house.workers.submit(self.file_obj.place), self._placed)

    def _placed(self, result: Future[None]) -> None:
        if self._closed:
            return
        error = result.exception()
        if error is None:
            self.transfer_finished = True
            self._resp = ("226 Transfer complete.", None)
            self.close()
        else:
            self._fail(f"451 The file cannot be put into its place: {error}.")

    @override
    def close(self) -> None:
        if self._ended and not self._closed and not self.file_obj.closed:
            # the client left with the end of its data, as sloppy cameras do and those that die: the picture tells
            self.file_obj.finish()
            self.house.workers.submit(_rescue, self.file_obj, self.house.pictures)
        super().close()


class TlsTransfer(TLS_DTPHandler, Transfer):
    """A transfer that is encrypted where the client asked for it."""

    _error = _ssl_want_read = _ssl_want_write = False

    def __init__(self, house: House, sock: socket.socket, session: FTPHandler) -> None:
        """Take the connection."""
        self.house = house
        super().__init__(sock, session)

    @override
    def close(self) -> None:
        super().close()
        if self.receive and not self._closed:  # the end of TLS is not waited for: the client waits for the answer
            self._error = True
            super().close()


def _is_reset(error: BaseException | None) -> bool:
    """Return whether a connection ended with this error by being lost, not closed: plain, or below TLS."""
    return isinstance(error, OSError) or (isinstance(error, SSL.SysCallError) and error.args[0] > 0)


def _rescue(upload: Upload, limits: IngestSettings) -> None:
    try:
        upload.place_if_whole(limits)
    except OSError as error:
        _LOGGER.warning("%s cannot be put into its place: %s", upload.name, error)
