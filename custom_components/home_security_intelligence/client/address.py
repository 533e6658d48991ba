# SPDX-License-Identifier: Apache-2.0
"""Where the server is, as people write it down."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Self

from yarl import URL

from .errors import InvalidAddress

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_][a-z0-9_-]{0,62}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port of a server."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, port: int) -> Self:
        """Read a host name, an IPv4 or IPv6 address or a pasted http address; a port in the text wins."""
        text = text.strip()
        if _is_ipv6(text):
            return cls(text.lower(), port)
        try:
            url = URL(text if "://" in text else f"http://{text}")
            host, explicit_port = url.host, url.explicit_port
        except ValueError as err:
            raise InvalidAddress(text) from err
        if url.scheme != "http" or not host or not (_is_ipv6(host) or _HOST_NAME.fullmatch(host)):
            raise InvalidAddress(text)
        return cls(host, explicit_port or port)

    @property
    def url(self) -> URL:
        """The base URL."""
        return URL.build(scheme="http", host=self.host, port=self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if _is_ipv6(self.host) else f"{self.host}:{self.port}"


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
