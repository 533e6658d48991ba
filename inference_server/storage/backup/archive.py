# SPDX-License-Identifier: AGPL-3.0-or-later
"""The file of a backup: a plain tar of plain files whose last member is the SHA-256 of everything before it.

It is read more strictly than tar is: a header must be, byte for byte, the one that the writer would have written for a
file of this name and size. So links, devices, extended headers and whatever else a tar may hold are no matter.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from inference_server.storage.backup.errors import BackupError, damaged, untrusted

FORMAT = 1
FORMAT_MEMBER = "format.json"
MANIFEST_MEMBER = "manifest.json"
CHECKSUM_MEMBER = "checksum.sha256"
TABLES = "database/"
TABLE_SUFFIX = ".jsonl.gz"
MEDIA = "media/"
READ_SIZE = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
LARGEST_MEMBER = 8**11 - 1
"""What a tar header can tell, in bytes."""

type Advance = Callable[[int], None]
"""Is told how many bytes were just handled, about every MiB. What it raises ends the work."""


class Writable(Protocol):
    """Where an archive goes."""

    def write(self, data: bytes, /) -> object:
        """Add bytes."""
        ...


class Readable(Protocol):
    """Where an archive comes from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive; its size in bytes."""

    name: str
    size: int


def is_safe(path: str) -> bool:
    """Return whether a path may be a member's: relative, no part hidden or leading upwards, nothing a name lacks."""
    return path.isprintable() and "\\" not in path and all(part and part[0] != "." for part in path.split("/"))


def header(member: Member) -> bytes:
    """Return a member's header. Raises ValueError for a name or a size that none can have."""
    if not is_safe(member.name):
        raise ValueError(f"{member.name!r} is no path of a backup")
    if member.size > LARGEST_MEMBER:
        raise ValueError(f"{member.name} is larger than {LARGEST_MEMBER} bytes")
    info = tarfile.TarInfo(member.name)
    info.size, info.mode = member.size, 0o600
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


class ArchiveWriter:
    """Writes members one after the other, then the checksum."""

    def __init__(self, target: Writable) -> None:
        """Take where the archive goes."""
        self._target = target
        self._digest = hashlib.sha256()

    def add(self, member: Member, chunks: Iterable[bytes], advance: Advance) -> str:
        """Add a member and return its SHA-256. Raises BackupError when the chunks are not as long as was said."""
        self._write(header(member))
        digest, written = hashlib.sha256(), 0
        for chunk in chunks:
            written += len(chunk)
            digest.update(chunk)
            self._write(chunk)
            advance(len(chunk))
        if written != member.size:
            raise BackupError(f"{member.name} changed while it was read. Make the backup again.")
        self._write(bytes(-member.size % _BLOCK))
        return digest.hexdigest()

    def finish(self) -> None:
        """Write the checksum and the end."""
        self._target.write(_trailer(self._digest.hexdigest()))

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._target.write(data)


class ArchiveReader:
    """Reads members one after the other. Nothing of it is trusted before `finish`."""

    def __init__(self, source: Readable, size: int, advance: Advance) -> None:
        """Take the archive, at its beginning, and its size in bytes."""
        self._source = source
        self._left = size - len(_trailer(""))
        self._digest = hashlib.sha256()
        self._advance = advance
        self._member_left = 0
        self._member_digest = hashlib.sha256()

    def members(self) -> Iterator[Member]:
        """Yield each member; what of it was not read is skipped before the next. Raises BackupError."""
        while self._left > 0:
            member = _member(self._exactly(_BLOCK))
            self._member_left, self._member_digest = member.size, hashlib.sha256()
            yield member
            self.digest()
            if any(self._exactly(-member.size % _BLOCK)):
                raise untrusted(f"something follows {member.name}")

    def read(self, size: int) -> bytes:
        """Return at most so many bytes of the member, none at its end. Raises BackupError."""
        chunk = self._some(min(size, self._member_left, READ_SIZE))
        self._member_left -= len(chunk)
        self._member_digest.update(chunk)
        return chunk

    def digest(self) -> str:
        """Read the rest of the member and return the SHA-256 of the whole. Raises BackupError."""
        while self.read(READ_SIZE):
            pass
        return self._member_digest.hexdigest()

    def finish(self) -> None:
        """Read to the end and compare the checksum. Raises BackupError."""
        while self._left > 0:
            self._some(min(self._left, READ_SIZE))
        expected = _trailer(self._digest.hexdigest())
        found = b""
        while chunk := self._source.read(len(expected) - len(found)):
            found += chunk
        if found != expected:
            raise damaged("its checksum is not that of its content")

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            found += self._some(size - len(found))
        return found

    def _some(self, size: int) -> bytes:
        """Return at least one of the next bytes, unless none is wanted."""
        chunk = self._source.read(min(size, max(self._left, 0)))
        if size and not chunk:
            raise damaged("it ends too early")
        self._left -= len(chunk)
        self._digest.update(chunk)
        self._advance(len(chunk))
        return chunk


def _member(block: bytes) -> Member:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise damaged("it is no tar archive") from error
    member = Member(info.name, info.size)
    if not info.isreg():
        raise untrusted(f"{member.name!r} is no plain file")
    try:
        plain = header(member)
    except ValueError as error:
        raise untrusted(str(error)) from error
    if plain != block:
        raise untrusted(f"the header of {member.name!r} is unusual")
    return member


def _trailer(digest: str) -> bytes:
    content = f"{digest:64}\n".encode()
    return header(Member(CHECKSUM_MEMBER, len(content))) + content.ljust(_BLOCK, b"\0") + _END
