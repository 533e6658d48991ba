# SPDX-License-Identifier: AGPL-3.0-or-later
"""Passwords that people and cameras type: made here, kept as salted scrypt hashes, compared in constant time."""

import base64
import hashlib
import hmac
import secrets

LENGTH = 16
ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Letters and digits that no two of look alike: cameras take these, and people type them."""
_COST, _BLOCK, _LANES = 2**14, 8, 5
_SALT_BYTES = 16
_MEMORY = 64 << 20


def generate_password() -> str:
    """Return a new password of 16 letters and digits, 92 random bits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def hash_password(password: str) -> str:
    """Return what is kept of a password: `scrypt$cost$block$lanes$salt$digest`. Takes a tenth of a second."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = _digest(password, salt, _COST, _BLOCK, _LANES)
    return "$".join(("scrypt", str(_COST), str(_BLOCK), str(_LANES), _text(salt), _text(digest)))


def matches(password: str, kept: str) -> bool:
    """Return whether a password is the one that was hashed. Takes as long for a wrong one."""
    _, cost, block, lanes, salt, digest = kept.split("$")
    found = _digest(password, base64.b64decode(salt), int(cost), int(block), int(lanes))
    return hmac.compare_digest(found, base64.b64decode(digest))


def _digest(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    secret = password.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(secret, salt=salt, n=cost, r=block, p=lanes, maxmem=_MEMORY)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
