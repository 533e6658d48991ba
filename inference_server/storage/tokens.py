# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on access tokens. Only digests are kept: a token that was lost is replaced, never read back."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.storage.tables import tokens


class Scope(StrEnum):
    """What the bearer of a token may do."""

    READ = "read"
    INTEGRATION = "integration"
    UPLOAD = "upload"
    ADMIN = "admin"

    def allows(self, wanted: "Scope") -> bool:
        """Return whether a bearer of this scope may do what another scope may."""
        return self in {wanted, Scope.ADMIN} or (self is Scope.INTEGRATION and wanted in {Scope.READ, Scope.UPLOAD})


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret."""

    id: int
    name: str
    scope: Scope
    created_at: datetime
    revoked_at: datetime | None


async def create(connection: AsyncConnection, name: str, scope: Scope, at: datetime) -> str:
    """Make a token and return its secret, 43 URL-safe characters: the only time it can be read."""
    secret = secrets.token_urlsafe(32)
    await connection.execute(
        tokens.insert().values(name=name, scope=scope.value, digest=_digest(secret), created_at=at)
    )
    return secret


async def verify(connection: AsyncConnection, secret: str) -> Token | None:
    """Return the token with this secret, or None when there is none or it was revoked."""
    query = select(tokens).where(tokens.c.digest == _digest(secret), tokens.c.revoked_at.is_(None))
    row = (await connection.execute(query)).one_or_none()
    return Token(row.id, row.name, Scope(row.scope), row.created_at, row.revoked_at) if row else None


async def list_all(connection: AsyncConnection) -> tuple[Token, ...]:
    """Return every token, revoked ones too, oldest first."""
    rows = await connection.execute(select(tokens).order_by(tokens.c.id))
    return tuple(Token(row.id, row.name, Scope(row.scope), row.created_at, row.revoked_at) for row in rows)


async def revoke(connection: AsyncConnection, token_id: int, at: datetime) -> bool:
    """End a token. Return whether there was one to end."""
    result = await connection.execute(
        update(tokens).where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None)).values(revoked_at=at)
    )
    return result.rowcount > 0


def _digest(secret: str) -> str:
    # 256 random bits need no salt and no slow hash: there is nothing to guess.
    # What arrives may hold broken Unicode; it is a wrong token like any other.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
