# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may ask: whoever bears the one token of the service."""

import hmac
import logging
import math
import re

from aiohttp import hdrs, web

from inference_server.api.authentication import peer
from inference_server.api.problems import ProblemCode, ProblemError
from inference_server.api.throttle import Throttle

REMEDY = "Use the token in the file `detector-token` of the service's data folder, or of HSI_DETECTOR_SERVICE__TOKEN."
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_LOGGER = logging.getLogger(__name__)


class Access:
    """Lets bearers of the token pass. Whoever presents wrong ones is slowed, but the right one always passes."""

    def __init__(self, token: str, throttle: Throttle) -> None:
        """Take the token, and the counter of refusals."""
        self._token = token.encode()
        self._throttle = throttle

    def authorize(self, request: web.Request) -> None:
        """Let a request pass. Raises ProblemError."""
        bearer = _BEARER.fullmatch(request.headers.get(hdrs.AUTHORIZATION, "").strip())
        if bearer is None:
            raise _unauthorized("The request carries no bearer token.")
        if hmac.compare_digest(bearer[1].encode("utf-8", "surrogateescape"), self._token):
            return
        wait = math.ceil(self._throttle.refuse(peer(request)))
        if wait:
            raise ProblemError(
                ProblemCode.TOO_MANY_ATTEMPTS,
                "Too many wrong tokens came from this address.",
                f"Wait {wait} seconds. {REMEDY}",
                headers={hdrs.RETRY_AFTER: str(wait)},
            )
        _LOGGER.warning("Refused a wrong token from %s", peer(request))
        raise _unauthorized("The token is wrong.")


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(
        ProblemCode.UNAUTHORIZED, detail, REMEDY, headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="hsi-detector"'}
    )
