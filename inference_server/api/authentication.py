# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asks: bearer tokens, their scopes, and what happens to wrong ones."""

import asyncio
import logging
import math
import re

from aiohttp import hdrs, web

from inference_server.api.problems import ProblemCode, ProblemError
from inference_server.api.throttle import Throttle
from inference_server.storage import tokens
from inference_server.storage.database import STORAGE_FAILURES, Database, DatabaseDownError
from inference_server.storage.tokens import Scope, Token

ANSWER_SECONDS = 3.0
"""A database that takes longer hangs: what it said last counts."""
TOKEN_REMEDY = "Use the token in the file `token` of the data folder, or make one with `hsi tokens create`."  # noqa: S105
SCOPE_REMEDY = "Make a token of that scope with `hsi tokens create`."

_SECRET = re.compile(r"[A-Za-z0-9_-]{1,200}")
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_LOGGER = logging.getLogger(__name__)


class TokenRefusedError(Exception):
    """The token is wrong or was revoked. `wait` is above 0 when its sender had too many refusals, in seconds."""

    def __init__(self, wait: float) -> None:
        """Take how long the sender is slowed."""
        super().__init__("The token is wrong or was revoked.")
        self.wait = wait


class Authenticator:
    """Turns secrets into tokens.

    An address that presents wrong tokens is slowed, but a right token always passes: 256 random bits are not guessed,
    and a misconfigured neighbour behind the same address must not lock the owner out.
    """

    def __init__(self, database: Database, throttle: Throttle) -> None:
        """Take where tokens are kept, and the counter of refusals."""
        self._database = database
        self._throttle = throttle
        self._verified: dict[str, Token] = {}
        """What was right when the database last answered: while it is down its state can still be asked for."""

    async def identify(self, secret: str, address: str) -> Token:
        """Return the token with this secret. Raises TokenRefusedError."""
        token = await self.find(secret)
        if token is None:
            wait = self._throttle.refuse(address)
            if not wait:
                _LOGGER.warning("Refused a wrong or revoked token from %s", address)
            raise TokenRefusedError(wait)
        return token

    async def find(self, secret: str) -> Token | None:
        """Return the token with this secret, if there is one that was not revoked. Raises one of STORAGE_FAILURES."""
        if not _SECRET.fullmatch(secret):
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._database.reading() as connection:
                token = await tokens.verify(connection, secret)
        except STORAGE_FAILURES as error:
            if secret in self._verified:
                return self._verified[secret]
            if isinstance(error, TimeoutError):
                raise DatabaseDownError(f"the database gives no answer within {ANSWER_SECONDS:g} s") from error
            raise
        if token is None:
            self._verified.pop(secret, None)
        else:
            self._verified[secret] = token
        return token

    async def authorize(self, request: web.Request, scope: Scope) -> Token:
        """Let a request of this scope pass and return its token. Raises ProblemError."""
        bearer = _BEARER.fullmatch(request.headers.get(hdrs.AUTHORIZATION, "").strip())
        if bearer is None:
            raise _unauthorized("The request carries no bearer token.")
        try:
            token = await self.identify(bearer[1], peer(request))
        except TokenRefusedError as refused:
            raise (_slowed(refused.wait) if refused.wait else _unauthorized(str(refused))) from refused
        if not token.scope.allows(scope):
            raise ProblemError(
                ProblemCode.FORBIDDEN,
                f'The token has the scope "{token.scope}"; this needs "{scope}".',
                SCOPE_REMEDY,
            )
        return token


AUTHENTICATOR = web.AppKey("authenticator", Authenticator)


def peer(request: web.Request) -> str:
    """Return the address of the other end."""
    return request.remote or "an unknown address"


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(
        ProblemCode.UNAUTHORIZED, detail, TOKEN_REMEDY, headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="hsi"'}
    )


def _slowed(wait: float) -> ProblemError:
    seconds = math.ceil(wait)
    return ProblemError(
        ProblemCode.TOO_MANY_ATTEMPTS,
        "Too many wrong tokens came from this address.",
        f"Wait {seconds} seconds. {TOKEN_REMEDY}",
        headers={hdrs.RETRY_AFTER: str(seconds)},
    )
