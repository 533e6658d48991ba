# SPDX-License-Identifier: Apache-2.0
"""Typed asynchronous client of the Home Security Intelligence server; knows nothing of Home Assistant."""

from .address import Address
from .errors import (
    CannotConnect,
    HsiError,
    InvalidAddress,
    InvalidAuth,
    MissingScope,
    NotFound,
    NotHsiServer,
    ProtocolError,
    RequestRefused,
    ServerTooNew,
    ServerTooOld,
    WrongServer,
)
from .rest import HsiClient
from .session import HsiSession

__all__ = [
    "Address",
    "CannotConnect",
    "HsiClient",
    "HsiError",
    "HsiSession",
    "InvalidAddress",
    "InvalidAuth",
    "MissingScope",
    "NotFound",
    "NotHsiServer",
    "ProtocolError",
    "RequestRefused",
    "ServerTooNew",
    "ServerTooOld",
    "WrongServer",
]
