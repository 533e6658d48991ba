# SPDX-License-Identifier: AGPL-3.0-or-later
"""A backup that is not, byte for byte, as it was written is refused, and nothing is restored from it."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_server.storage.backup.errors import BackupError
from inference_server.storage.backup.restore import Restoration, restore
from inference_server.storage.backup.verify import verify
from inference_server.storage.data_folder import DataFolder
from tests.support.backups import PASSPHRASE, database_of, members, put_back, save, written
from tests.support.home import MovableClock

TRAILER = 2048
"""Bytes of the checksum and the end."""
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["plain", "encrypted"])
async def whole(request: pytest.FixtureRequest, data: DataFolder, tmp_path: Path, _quick_key: None) -> bytes:
    """Give the content of a backup."""
    passphrase = PASSPHRASE if request.param == "encrypted" else None
    await save(data, tmp_path / "whole", passphrase=passphrase)
    return (tmp_path / "whole").read_bytes()


def _refused(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(BackupError, match=r"damaged|passphrase"):
        verify(file, PASSPHRASE)


def test_a_flipped_bit_anywhere_is_found(whole: bytes, tmp_path: Path) -> None:
    @FEW
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7))
    def check(place: int, bit: int) -> None:
        _refused(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :], tmp_path / "wrong")

    check()


def test_a_flipped_bit_in_the_last_blocks_is_found(whole: bytes, tmp_path: Path) -> None:
    for place in range(1, 2600, 50):
        _refused(whole[:-place] + bytes([whole[-place] ^ 1]) + whole[len(whole) - place + 1 :], tmp_path / "wrong")


def test_a_file_that_was_cut_off_is_found(whole: bytes, tmp_path: Path) -> None:
    @FEW
    @given(st.integers(0, len(whole) - 1))
    def check(size: int) -> None:
        _refused(whole[:size], tmp_path / "wrong")

    check()


@pytest.mark.parametrize("added", [b"\0", b"\0" * 512, b"more"], ids=len)
def test_something_added_is_found(whole: bytes, tmp_path: Path, added: bytes) -> None:
    _refused(whole + added, tmp_path / "wrong")


async def test_nothing_is_restored_from_a_damaged_backup(backup: Path, fresh: DataFolder) -> None:
    content = bytearray(backup.read_bytes())
    content[-3000] ^= 1
    backup.write_bytes(content)
    with pytest.raises(BackupError, match=r"damaged.*Copy it again"):
        await put_back(backup, fresh)
    assert [path.name for path in fresh.root.iterdir()] == [".lock"]


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 a picture", b"\0" * 4096, b"SQLite format 3\0" * 200])
def test_what_is_no_backup_is_told_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BackupError, match="damaged, incomplete or no backup"):
        verify(tmp_path / "file")


def test_a_missing_file_and_a_folder_are_told_so(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(BackupError, match=r"There is no backup .* Check the path"):
            verify(path)


@pytest.mark.parametrize("what", ["database/cameras.jsonl.gz", "media/garden/ab/abcd.jpg"])
async def test_a_backup_that_is_exchanged_after_the_check_is_refused(
    backup: Path, fresh: DataFolder, tmp_path: Path, what: str
) -> None:
    before = members(backup)
    manifest = before.pop("manifest.json")
    rows = gzip.compress(b"", mtime=0)
    other = written({**before, what: rows, "manifest.json": manifest}, tmp_path / "other.tar")

    def exchange(what: str, done: int, total: int) -> None:
        if what == "checked" and done >= total - TRAILER:
            other.replace(backup)

    with pytest.raises(BackupError, match="no longer what it was when it was checked"):
        await restore(Restoration(backup=backup, folder=fresh, database=database_of(fresh)), MovableClock(), exchange)
    assert not other.exists()
    assert not database_of(fresh).exists()
