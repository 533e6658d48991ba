# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may ask a service of its own process: whoever bears its one token."""

import hmac
import logging
import math
import re

from aiohttp import hdrs, web

from inference_server.api.authentication import peer
from inference_server.api.problems import ProblemCode, ProblemError
from inference_server.api.throttle import Throttle

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_LOGGER = logging.getLogger(__name__)


class ServiceAccess:
    """Lets bearers of the token pass. Whoever presents wrong ones is slowed, but the right one always passes."""

    def __init__(self, token: str, throttle: Throttle, *, remedy: str, realm: str) -> None:
        """Take the token, the counter of refusals, and where the token is to be found."""
        self._token = token.encode()
        self._throttle = throttle
        self._remedy = remedy
        self._realm = realm

    def authorize(self, request: web.Request) -> None:
        """Let a request pass. Raises ProblemError."""
        bearer = _BEARER.fullmatch(request.headers.get(hdrs.AUTHORIZATION, "").strip())
        if bearer is None:
            raise self._unauthorized("The request carries no bearer token.")
        if hmac.compare_digest(bearer[1].encode("utf-8", "surrogateescape"), self._token):
            return
        wait = math.ceil(self._throttle.refuse(peer(request)))
        if wait:
            raise ProblemError(
                ProblemCode.TOO_MANY_ATTEMPTS,
                "Too many wrong tokens came from this address.",
                f"Wait {wait} seconds. {self._remedy}",
                headers={hdrs.RETRY_AFTER: str(wait)},
            )
        _LOGGER.warning("Refused a wrong token from %s", peer(request))
        raise self._unauthorized("The token is wrong.")

    def _unauthorized(self, detail: str) -> ProblemError:
        challenge: dict[str, str] = {hdrs.WWW_AUTHENTICATE: f'Bearer realm="{self._realm}"'}
        return ProblemError(ProblemCode.UNAUTHORIZED, detail, self._remedy, headers=challenge)
