# SPDX-License-Identifier: AGPL-3.0-or-later
"""The thread in which pyftpdlib works: its loop of sockets, and the way in for calls from other threads."""

import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from pyftpdlib.ioloop import IOLoop

SECONDS = 1.0
"""How long the loop sleeps at most."""


class IoThread:
    """Runs sockets and timers until it is stopped. Everything of pyftpdlib is touched in its thread alone."""

    def __init__(self) -> None:
        """Make the loop; nothing runs yet."""
        self.ioloop = IOLoop()
        self._calls: deque[Callable[[], None]] = deque()
        self._alarm = _Alarm(self.ioloop)
        self._stopping = False

    def run(self) -> None:
        """Work until `stop`; then end every connection. What a call raises ends it too."""
        try:
            timeout = 0.0
            while not self._stopping:
                self.ioloop.poll(timeout)
                self._make_calls()
                soonest = self.ioloop.sched.poll()
                timeout = SECONDS if soonest is None else min(SECONDS, soonest)
            self._make_calls()
        finally:
            self.close()

    def _make_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def close(self) -> None:
        """End every connection, where `run` has ended or was never called."""
        self.ioloop.close()
        self._alarm.end()

    def stop(self) -> None:
        """Let `run` return. For other threads."""
        self._stopping = True
        self._alarm.ring()

    def post(self, call: Callable[[], None]) -> None:
        """Let the thread make a call soon. For other threads."""
        self._calls.append(call)
        self._alarm.ring()

    def deliver[Result](self, future: Future[Result], done: Callable[[Future[Result]], None]) -> None:
        """Call `done` in this thread when a future is."""
        future.add_done_callback(lambda finished: self.post(lambda: done(finished)))


class _Alarm:
    """A pair of sockets among those of the loop: writing into one wakes it."""

    def __init__(self, ioloop: IOLoop) -> None:
        self._hears, self._rings = socket.socketpair()
        for end in (self._hears, self._rings):
            end.setblocking(False)
        self._fileno = self._hears.fileno()
        ioloop.register(self._fileno, self, ioloop.READ)

    def ring(self) -> None:
        with suppress(OSError):  # full: it wakes anyway; closed: nobody is there to be woken
            self._rings.send(b"\0")

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        with suppress(BlockingIOError):
            while self._hears.recv(4096):
                pass

    def handle_error(self) -> None:
        raise  # noqa: PLE0704 - the loop calls this while it handles the exception

    def close(self) -> None:
        """Be closed by the loop, which closes all that it knows; the ends close later, when nobody rings any more."""

    def end(self) -> None:
        self._hears.close()
        self._rings.close()
