# SPDX-License-Identifier: AGPL-3.0-or-later
"""Waiting for a client's data connection, on one of the ports that the owner opened."""

import errno
from typing import override

from pyftpdlib.handlers import FTPHandler
from pyftpdlib.handlers.ftp.dispatchers import PassiveDTP


class PassivePort(PassiveDTP):
    """As pyftpdlib's own, but never on a port outside the range: no firewall lets one through."""

    def __init__(self, session: FTPHandler, extmode: bool = False) -> None:
        """Listen and tell the client where. Raises OSError when no port of the range is free."""
        try:
            super().__init__(session, extmode)
        except OSError:
            self.close()
            raise

    @override
    def bind(self, addr: tuple[str | int, ...]) -> None:
        if len(addr) == 2 and addr[1] == 0:  # its last resort; four parts are its question for the address family
            raise OSError(errno.EADDRINUSE, "No passive port is free")
        super().bind(addr)
