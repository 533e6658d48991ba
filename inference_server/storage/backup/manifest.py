# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a backup says of itself, and what of it is found to be true."""

import hashlib
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt

from inference_server.storage.backup.archive import MEDIA, TABLE_SUFFIX, TABLES, Member
from inference_server.storage.rows import LARGEST_ID

LARGEST_MANIFEST = 4 << 20
LEFT_OUT = (
    "the settings",
    "the file with the token of the first start",
    "the FTP server's own certificate",
    "the weights of the models",
)
MOST_TABLES = 1000

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
TableName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


def table_member(name: str, size: int) -> Member:
    """Return the member that holds a table's rows, compressed to so many bytes."""
    return Member(f"{TABLES}{name}{TABLE_SUFFIX}", size)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableContent(_Part):
    """One table: its rows, the bytes of their JSON, and the size and SHA-256 of these when compressed.

    `last_id` is the highest key that was ever given out, where the database counts it.
    """

    name: TableName
    rows: NonNegativeInt
    json_bytes: NonNegativeInt
    size: NonNegativeInt
    sha256: Sha256
    last_id: Annotated[int, Field(ge=0, le=LARGEST_ID)] | None

    @property
    def member(self) -> Member:
        """Where its rows are."""
        return table_member(self.name, self.size)


class MediaContent(_Part):
    """The picture and clip files: how many, their bytes, and a SHA-256 over all sizes, digests and paths in order.

    `missing` counts the files that were gone or could not be read when the backup came to them.
    """

    files: NonNegativeInt
    total_bytes: NonNegativeInt
    sha256: Sha256
    missing: NonNegativeInt
    examples: Annotated[tuple[str, ...], Field(max_length=20)] = ()
    """A few of the missing ones."""


class Manifest(_Part):
    """What a backup holds, and of which program and server it is."""

    format: Literal[1] = 1
    version: Annotated[str, Field(min_length=1, max_length=64)]
    revision: Annotated[str, Field(pattern=r"^[0-9a-zA-Z_]{1,32}$")]
    """The schema's, as the migrations number it."""
    server_id: Annotated[str, Field(max_length=64)] | None
    """None when the server was never started."""
    created_at: AwareDatetime
    tables: Annotated[tuple[TableContent, ...], Field(max_length=MOST_TABLES)]
    media: MediaContent | None
    left_out: tuple[str, ...] = LEFT_OUT

    @property
    def rows(self) -> int:
        """How many rows there are in all tables."""
        return sum(item.rows for item in self.tables)

    @property
    def json_bytes(self) -> int:
        """How long the JSON of all rows is."""
        return sum(item.json_bytes for item in self.tables)


class MediaTally:
    """Counts media files as they pass."""

    def __init__(self) -> None:
        """Start with none."""
        self.files = 0
        self.total_bytes = 0
        self._digest = hashlib.sha256()

    def add(self, member: Member, sha256: str) -> None:
        """Count a file."""
        self.files += 1
        self.total_bytes += member.size
        self._digest.update(f"{member.size} {sha256} {member.name.removeprefix(MEDIA)}\n".encode())

    def content(self, missing: int = 0, examples: tuple[str, ...] = ()) -> MediaContent:
        """Return the count."""
        return MediaContent(
            files=self.files,
            total_bytes=self.total_bytes,
            sha256=self._digest.hexdigest(),
            missing=missing,
            examples=examples,
        )
