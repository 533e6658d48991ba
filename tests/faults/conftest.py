# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that the tests share."""

from tests.server.conftest import postgresql, redis, where

__all__ = ["postgresql", "redis", "where"]
