# SPDX-License-Identifier: AGPL-3.0-or-later
"""One client's control connection: what it may ask for, and what it is answered."""

import asyncio
import errno
import logging
import math
import socket
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, override

from OpenSSL import SSL
from pyftpdlib.exceptions import FilesystemError
from pyftpdlib.handlers import TLS_FTPHandler
from pyftpdlib.ioloop import AsyncChat
from pyftpdlib.servers import FTPServer
from pyftpdlib.utils import strerror

from inference_server.ingest.ftp.filesystem import CameraFolder
from inference_server.ingest.ftp.gate import FolderUnusableError, Login
from inference_server.ingest.ftp.house import House
from inference_server.ingest.ftp.names import has_control_characters
from inference_server.ingest.ftp.passive import PassivePort
from inference_server.ingest.ftp.transfer import TlsTransfer
from inference_server.ingest.ftp.upload import Upload
from inference_server.storage.ftp_accounts import FtpAccount

_LOGGER = logging.getLogger(__name__)

LOGIN_SECONDS = 60.0
"""How long a client may take to log in."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
URGENT = frozenset({"ABOR", "STAT", "QUIT"})
"""Commands before which a client may send signals of Telnet."""
TLS_COMMANDS = frozenset({"AUTH", "PBSZ", "PROT"})
COMMANDS = TLS_COMMANDS | {
    *("USER", "PASS", "QUIT", "NOOP", "FEAT", "HELP", "SYST", "STAT", "OPTS"),
    *("TYPE", "STRU", "MODE", "ALLO", "PASV", "EPSV", "PORT", "EPRT", "ABOR", "REST", "STOR", "APPE"),
    *("PWD", "XPWD", "CWD", "XCWD", "CDUP", "XCUP", "MKD", "XMKD", "LIST", "NLST", "MLSD", "MLST"),
    *("SIZE", "MDTM", "MFMT", "RNFR", "RNTO", "DELE"),
}
"""What is understood: all that uploads need. Nothing is read back, no folder is removed, nothing is executed."""


class Rights:
    """What every account may do: e enter, l list, a append, w write, m make folders, f rename, T set times, d delete.

    Takes the place of pyftpdlib's authorizer, whose other half, passwords, is the gate's.
    """

    _RIGHTS = "elawmfTd"

    def has_perm(self, _name: str, right: str, _path: str | None = None) -> bool:
        """Return whether the account has a right."""
        return right in self._RIGHTS

    def get_perms(self, _name: str) -> str:
        """Return all rights."""
        return self._RIGHTS

    def get_msg_quit(self, _name: str) -> str:
        """Return what is said at the end."""
        return "Goodbye."

    def impersonate_user(self, _name: str, _password: str) -> None:
        """Do nothing: all files are the server's."""

    def terminate_impersonation(self, _name: str) -> None:
        """Do nothing."""


class CameraSession(TLS_FTPHandler):
    """A client of the FTP server. Lives in the thread of its sockets alone."""

    authorizer = Rights()
    passive_dtp = PassivePort
    banner = "Home Security Intelligence, for cameras."
    unicode_errors = "surrogateescape"
    """Names are bytes; those that are no UTF-8 keep theirs."""

    def __init__(self, house: House, conn: socket.socket, server: FTPServer, ioloop: Any) -> None:
        """Take the connection."""
        settings = house.settings
        self.house = house
        self.abstracted_fs = partial(CameraFolder, house)
        self.dtp_handler = partial(TlsTransfer, house)
        self.timeout = settings.idle_seconds
        self.passive_ports = settings.passive_range
        self.masquerade_address = str(settings.passive_address) if settings.passive_address else None
        self.tls_data_required = settings.tls == "required"
        wanted = COMMANDS if house.tls else COMMANDS - TLS_COMMANDS
        self.proto_cmds = {name: syntax for name, syntax in TLS_FTPHandler.proto_cmds.items() if name in wanted}
        self.account: FtpAccount | None = None
        self._restart_position: int
        self._in_dtp_queue: tuple[Upload, str] | None
        self._checking = False
        super().__init__(conn, server, ioloop=ioloop)
        self._extra_feats = ["AUTH TLS", "PBSZ", "PROT"] if house.tls else []
        if self.connected:
            self.call_later(LOGIN_SECONDS, self._end_a_stranger)

    @property
    def _current_type(self) -> str:
        """Binary, whatever the client says: a picture that is treated as text is destroyed."""
        return "i"

    @_current_type.setter
    def _current_type(self, _value: str) -> None:
        pass

    @override
    def get_ssl_context(self) -> SSL.Context | None:
        return self.house.tls

    # --- talking and logging

    @override
    def push(self, data: str) -> None:
        AsyncChat.push(self, data.encode(self.encoding, self.unicode_errors))

    @override
    def log(self, msg: str, logfun: object = None) -> None:
        _LOGGER.debug("%s:%s %s", self.remote_ip, self.remote_port, msg)

    @override
    def logline(self, msg: str, logfun: object = None) -> None:
        """Log nothing: a line may hold a password that was typed in the wrong place."""

    def warn(self, message: str) -> None:
        """Log what the owner of the camera should know."""
        _LOGGER.warning("FTP, %s at %s: %s", self.account.name if self.account else "nobody", self.remote_ip, message)

    def end(self, reply: str) -> None:
        """Say why, and close the connection."""
        self.respond(reply)
        self.close_when_done()

    @override
    def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
        if has_control_characters(line):
            self.respond("501 Control characters are not understood.")
        elif cmd not in self.proto_cmds and cmd[-4:] not in URGENT:
            self.respond("500 This command is not understood.")  # unquoted: it may be a password
        elif self._checking:
            self.respond("503 Wait for the answer to PASS.")
        else:
            super().pre_process_command(line, cmd, arg)

    # --- coming in

    @override
    def on_connect(self) -> None:
        if reply := self._shut_out():
            self.end(reply)

    def _shut_out(self) -> str | None:
        seconds = self.house.bans.remaining(self.remote_ip)
        return f"421 Too many wrong passwords came from this address: wait {math.ceil(seconds)} s." if seconds else None

    def _end_a_stranger(self) -> None:
        if not self.authenticated:
            self.end("421 Nobody logged in.")

    @override
    def process_command(self, cmd: str, *args: Any, **kwargs: Any) -> None:
        if cmd in {"USER", "PASS"} and self.tls_data_required and not self._ssl_established:
            self.respond("530 Passwords are taken over TLS only: choose FTPS (explicit, AUTH TLS) in the camera.")
        else:
            super().process_command(cmd, *args, **kwargs)

    @override
    def ftp_AUTH(self, line: str) -> None:
        super().ftp_AUTH(line)
        # what came unencrypted must not count as if it had come encrypted
        self.ac_in_buffer = b""
        self._in_buffer.clear()
        self._in_buffer_len = 0

    @override
    def ftp_PASS(self, line: str) -> None:
        """Let the gate check the password while other clients are served."""
        if self.authenticated or not self.username:
            self.respond("503 Send USER before PASS, and each once.")
        elif reply := self._shut_out():
            self.end(reply)
        else:
            self._checking = True
            entering = asyncio.run_coroutine_threadsafe(self.house.gate.enter(self.username, line), self.house.loop)
            self.house.thread.deliver(entering, self._checked)

    def _checked(self, result: Future[Login | None]) -> None:
        if self._closed:
            return
        if isinstance(error := result.exception(), FolderUnusableError):
            self.warn(str(error))
            self.end("421 The camera's folder cannot be used; the server's log says why.")
        elif error is not None:
            self.warn(f"the account cannot be looked up: {error}")
            self.end("421 The accounts cannot be read now; try again later.")
        elif (login := result.result()) is not None:
            self._checking = False
            self.account = login.account
            self.handle_auth_success(str(login.folder), "", f"Welcome, {login.account.name}.")
        else:
            delay = self.house.bans.failed(self.remote_ip)
            self.warn(f"wrong user or password, answered after {delay:.0f} s")
            self.call_later(delay, self._refuse)

    def _refuse(self) -> None:
        self._checking = False
        self.attempted_logins += 1
        if self.attempted_logins < self.max_login_attempts:
            self.respond("530 The user or the password is wrong.")
        else:
            self.end("530 The user or the password is wrong. Goodbye.")

    @override
    def flush_account(self) -> None:
        self.account = None
        super().flush_account()

    # --- files

    @override
    def ftp_CWD(self, path: str) -> None:
        try:
            self.fs.chdir(path)
        except (OSError, FilesystemError) as error:
            self.respond(f"550 {strerror(error)}.")
        else:
            self.respond(f'250 "{self.fs.cwd}" is the current directory.')

    @override
    def ftp_STOR(self, file: str, mode: str = "w") -> None:
        """Open an upload and receive into it, once the data connection is there."""
        offset, self._restart_position = self._restart_position, 0
        self._close_waiting()
        try:
            if reason := self.house.full(Path(self.fs.root)):
                self.respond(f"452 {reason}")
                return
            upload = self.fs.receive(file, offset=offset, append=mode == "a")
        except (OSError, FilesystemError) as error:
            self.warn(f"{file!r} is refused: {strerror(error)}")
            full = isinstance(error, OSError) and error.errno in NO_ROOM
            self.respond(f"{452 if full else 550} {strerror(error)}.")
        else:
            self._expect(upload, "APPE" if mode == "a" else "STOR")

    def _expect(self, upload: Upload, command: str) -> None:
        if self.data_channel is not None:
            self.respond("125 Data connection already open. Transfer starting.")
            self.data_channel.file_obj = upload
            self.data_channel.enable_receiving(self._current_type, command)
        else:
            self.respond("150 File status okay. About to open data connection.")
            self._in_dtp_queue = (upload, command)

    @override
    def close(self) -> None:
        if not self._closed and self.data_channel is not None:
            self.data_channel.drain()
        super().close()

    @override
    def _on_dtp_close(self) -> None:
        if self._in_dtp_queue is not None:
            self._close_waiting()
            self.respond("426 The data connection broke before it was ready.")
        super()._on_dtp_close()

    def _close_waiting(self) -> None:
        """Give up an upload whose data never came, or a list that nobody fetched."""
        self._out_dtp_queue = None
        if self._in_dtp_queue is not None:
            self._in_dtp_queue[0].close()
            self._in_dtp_queue = None

    @override
    def _make_epasv(self, extmode: bool = False) -> None:
        try:
            super()._make_epasv(extmode)
        except OSError as error:
            self.respond(f"425 {error.strerror}: try again later.")
