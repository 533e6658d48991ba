# SPDX-License-Identifier: AGPL-3.0-or-later
"""What it means when a server that speaks OpenAI's protocol does not answer, or answers with an error."""

import ssl
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from inference_server.risk.analyst.language_model import ModelDown, ModelError, Refused, TimedOut
from inference_server.risk.analyst.openai_stream import BrokenOffError, NotUnderstoodError, error_of, parsed

RUN_REMEDY = "Check that it runs, and that this machine reaches its port."
LONGEST_WAIT_SECONDS = 3600.0
_ADDRESS_REMEDY = "Check analyst.url: it is where /chat/completions is, such as http://HOST:8080/v1."
_KEY_REMEDY = "Set analyst.api_key to the key that the server wants."
_LOG_REMEDY = "Its log says more."
_NOT_UNDERSTOOD = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_IMPLEMENTED}


@dataclass(frozen=True, slots=True)
class ServerErrors:
    """Explains the failures of the server at an address."""

    url: str
    connect_seconds: float
    stall_seconds: float

    def of_connection(self, error: Exception) -> ModelError:
        """Return what a failure means that no answer told."""
        where = f"The server at {self.url}"
        found: ModelError
        match error:
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError() | ssl.SSLError():
                found = Refused(
                    f"{where} cannot be trusted: {str(error)[:200]}.",
                    "Give it a certificate that this machine trusts (SSL_CERT_FILE adds one), or use its right name.",
                )
            case aiohttp.ConnectionTimeoutError():
                found = ModelDown(
                    f"{where} cannot be reached: no answer within {self.connect_seconds:g} s.", RUN_REMEDY
                )
            case aiohttp.ServerTimeoutError():
                found = TimedOut(
                    f"{where} gave no sign of life for {self.stall_seconds:g} s.",
                    "See how busy it is, or raise analyst.stall_seconds.",
                )
            case aiohttp.ClientConnectorError():
                found = ModelDown(f"{where} cannot be reached: {error.os_error.strerror or error}.", RUN_REMEDY)
            case ValueError():
                found = self.not_ours(str(error)[:200])
            case BrokenOffError():
                found = ModelDown(f"{where} broke its answer off.", RUN_REMEDY)
            case _:
                found = ModelDown(f"The connection to {self.url} failed: {type(error).__name__}.", RUN_REMEDY)
        return found

    def of_answer(self, status: int, retry_after: str | None, content: bytes) -> Exception:
        """Return what an answer means that is an error: a ModelError, or a NotUnderstoodError."""
        said = error_of(parsed(content, lenient=True)) or f"status {status}"
        where = f"The server at {self.url}"
        found: Exception = ModelDown(f"{where} failed: {said}.", _LOG_REMEDY)
        if status in _NOT_UNDERSTOOD:
            found = NotUnderstoodError(said)
        elif status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            found = Refused(f"{where} refuses the key: {said}.", _KEY_REMEDY)
        elif status == HTTPStatus.NOT_FOUND:
            remedy = f"Check analyst.model_name. {_ADDRESS_REMEDY}"
            found = Refused(f"{where} does not know the model, or the path is wrong: {said}.", remedy)
        elif status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            message = f"{where} is busy or loading: {said}."
            found = ModelDown(message, "It is asked again later.", _seconds(retry_after))
        elif 300 <= status < 400:
            message = f"{where} sends elsewhere, which is not followed: the key is for no other server."
            found = Refused(message, _ADDRESS_REMEDY)
        elif status < 500:
            found = Refused(f"{where} refuses the request: {said}.", _LOG_REMEDY)
        return found

    def not_ours(self, why: str) -> Refused:
        """Return the error that something else answers there."""
        return Refused(f"What answers at {self.url} does not speak OpenAI's protocol: {why}.", _ADDRESS_REMEDY)


def _seconds(retry_after: str | None) -> float | None:
    """Return after how long a busy server may be asked again; None where it does not say so in seconds."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS) if seconds == seconds else None  # noqa: PLR0124 - not a number
