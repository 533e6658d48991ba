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
from .models import AlarmState, HomeContext
from .rest import HsiClient
from .session import HsiSession

__all__ = [
    "Address",
    "AlarmState",
    "CannotConnect",
    "HomeContext",
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
