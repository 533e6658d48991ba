# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between this client and the server.

Each error carries the key of the sentence that explains it to the user.
"""

from typing import ClassVar


class HsiError(Exception):
    """Base of all errors of the client."""

    key: ClassVar[str] = "unknown"


class InvalidAddress(HsiError):
    """What was entered is no host name, IP address or http address."""

    key = "invalid_address"


class CannotConnect(HsiError):
    """Nothing answers, or the connection broke."""

    key = "cannot_connect"


class InvalidAuth(HsiError):
    """The server does not know the token."""

    key = "invalid_auth"


class MissingScope(HsiError):
    """The token is known, but may not do this."""

    key = "missing_scope"


class NotHsiServer(HsiError):
    """Something answers, but it is another service."""

    key = "not_hsi_server"


class WrongServer(HsiError):
    """Another server than the expected one answers at the address."""

    key = "wrong_server"


class ServerTooOld(HsiError):
    """The server speaks a protocol this client no longer speaks."""

    key = "server_too_old"


class ServerTooNew(HsiError):
    """The server speaks only a protocol this client does not speak yet."""

    key = "server_too_new"


class ProtocolError(HsiError):
    """The server said something that the protocol does not allow."""

    key = "protocol_error"


class NotFound(HsiError):
    """The server has no such camera, event or picture."""

    key = "not_found"


class RequestRefused(HsiError):
    """The server refused a request for a reason of its own."""

    key = "request_refused"
