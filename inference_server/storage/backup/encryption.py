# SPDX-License-Identifier: AGPL-3.0-or-later
"""Encryption with a passphrase: scrypt makes the key, AES-256-GCM seals the chunks of the STREAM construction.

A chunk's nonce is its number and whether it is the last one, so that none can be moved, repeated or left off.
Source: V. T. Hoang, R. Reyhanitabar, P. Rogaway, D. Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", CRYPTO 2015; nonces as in the age file format (age-encryption.org/v1): a file's key is its own.
"""

import os
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from inference_server.storage.backup.errors import PassphraseError, damaged

MAGIC = b"HSI backup, encrypted: 1\n"
"""How an encrypted backup begins. Another way to encrypt gets another number."""
CHUNK = 1 << 16
_SALT = 16
_TAG = 16
_HEADER = len(MAGIC) + _SALT
# scrypt's cost, 64 MiB of memory: OWASP Password Storage Cheat Sheet, N=2^16, r=8, p=2
_COST, _BLOCK_SIZE, _PARALLEL = 1 << 16, 8, 2


class EncryptingWriter:
    """Writes what it is given to a file, encrypted. What was written counts only after `finish`."""

    def __init__(self, target: BinaryIO, passphrase: str) -> None:
        """Take the file and write the header."""
        salt = os.urandom(_SALT)
        self._target = target
        self._cipher = _cipher(passphrase, salt)
        self._buffer = bytearray()
        self._number = 0
        target.write(MAGIC + salt)

    def write(self, data: bytes) -> None:
        """Add data; a part of it is kept back, as only `finish` knows which chunk is the last."""
        self._buffer += data
        end = (len(self._buffer) - 1) // CHUNK * CHUNK
        for start in range(0, end, CHUNK):
            self._seal(bytes(self._buffer[start : start + CHUNK]), last=False)
        del self._buffer[: max(end, 0)]

    def finish(self) -> None:
        """Write the last chunk."""
        self._seal(bytes(self._buffer), last=True)

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        self._target.write(self._cipher.encrypt(_nonce(self._number, last=last), chunk, MAGIC))
        self._number += 1


class DecryptingReader:
    """Reads an encrypted file. Nothing is given out that was not authenticated."""

    def __init__(self, source: BinaryIO, passphrase: str, size: int) -> None:
        """Take the file, at its beginning, and its size in bytes. Raises BackupError."""
        header = source.read(_HEADER)
        if len(header) < _HEADER or size <= _HEADER + _TAG:
            raise damaged("it ends in its header")
        self._source = source
        self._cipher = _cipher(passphrase, header[len(MAGIC) :])
        self._left = size - _HEADER
        self._buffer = b""
        self._number = 0
        chunks = -(-self._left // (CHUNK + _TAG))
        self.size = self._left - chunks * _TAG
        """How many bytes there are to read."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end of a chunk, none at the end. Raises BackupError."""
        if not self._buffer and self._left:
            self._buffer = self._open_next()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _open_next(self) -> bytes:
        sealed = self._source.read(min(CHUNK + _TAG, self._left))
        self._left -= len(sealed)
        try:
            chunk = self._cipher.decrypt(_nonce(self._number, last=not self._left), sealed, MAGIC)
        except (InvalidTag, ValueError) as error:
            if self._number == 0:
                raise PassphraseError(
                    "The passphrase is wrong, or the beginning of the backup is damaged. Check the passphrase first."
                ) from error
            raise damaged(f"its part {self._number + 1} is not what was written") from error
        self._number += 1
        return chunk


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    key = Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK_SIZE, p=_PARALLEL).derive(passphrase.encode())
    return AESGCM(key)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11) + bytes([last])
