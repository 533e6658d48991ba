# SPDX-License-Identifier: AGPL-3.0-or-later
"""Listening: the application on a host and port."""

import errno

from aiohttp import web

from inference_server.api.application import create_application
from inference_server.api.connections import LimitedRunner
from inference_server.api.context import ApiContext

_SHUTDOWN_SECONDS = 2.0


class CannotListenError(Exception):
    """The address cannot be listened on; the message says what to do."""


class ApiServer:
    """Serves the API from `start` to `stop`."""

    def __init__(self, context: ApiContext, host: str, port: int) -> None:
        """Take where to listen; port 0 means any free one."""
        self._host = host
        self._port = port
        self._runner = LimitedRunner(
            create_application(context), context.limits, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS
        )

    async def start(self) -> None:
        """Listen. The database must be open. Raises CannotListenError."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise cannot_listen(error, self._host, self._port, "HSI_API") from error

    @property
    def port(self) -> int:
        """The port that is listened on. Raises RuntimeError before the start."""
        if not self._runner.addresses:
            raise RuntimeError("The server does not listen: it was not started.")
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Say goodbye to the clients and stop listening."""
        await self._runner.cleanup()


def cannot_listen(error: OSError, host: str, port: int, setting: str) -> CannotListenError:
    """Return the error that explains why an address cannot be listened on; `setting` begins its variables' names."""
    if error.errno == errno.EADDRINUSE:
        return CannotListenError(
            f"Port {port} on {host} is in use by another program. "
            f"Stop that program, or set {setting}__PORT to a free port."
        )
    if error.errno == errno.EACCES:
        return CannotListenError(
            f"Port {port} needs privileges that this program lacks. Set {setting}__PORT to 1024 or more."
        )
    return CannotListenError(
        f"{host} port {port} cannot be listened on ({error.strerror}). Check {setting}__HOST and {setting}__PORT."
    )
