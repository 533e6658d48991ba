# SPDX-License-Identifier: AGPL-3.0-or-later
"""Encryption: what was sealed is read with the passphrase only, and only as it was."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.storage.backup import encryption
from inference_server.storage.backup.encryption import CHUNK, MAGIC, DecryptingReader, EncryptingWriter
from inference_server.storage.backup.errors import BackupError, PassphraseError
from inference_server.storage.backup.verify import verify
from inference_server.storage.data_folder import DataFolder
from tests.support.backups import PASSPHRASE, content_of, put_back, save

SEALED = CHUNK + 16
HEADER = len(MAGIC) + 16


def sealed(*pieces: bytes) -> bytes:
    target = io.BytesIO()
    writer = EncryptingWriter(target, PASSPHRASE)
    for piece in pieces:
        writer.write(piece)
    writer.finish()
    return target.getvalue()


def opened(content: bytes, passphrase: str = PASSPHRASE) -> bytes:
    reader = DecryptingReader(io.BytesIO(content), passphrase, len(content))
    found = b""
    while chunk := reader.read(50_000):
        found += chunk
    assert len(found) == reader.size
    return found


@pytest.mark.usefixtures("_quick_key")
@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
@pytest.mark.parametrize("pieces", [1, 7])
def test_what_was_sealed_can_be_opened(size: int, pieces: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    step = -(-size // pieces)
    assert opened(sealed(*(content[start : start + step] for start in range(0, size, step)))) == content


@pytest.mark.usefixtures("_quick_key")
def test_chunks_that_were_cut_off_moved_or_repeated_are_noticed() -> None:
    content = sealed(bytes(3 * CHUNK))
    header, first, second, third = (
        content[:HEADER],
        content[HEADER : HEADER + SEALED],
        content[HEADER + SEALED : HEADER + 2 * SEALED],
        content[HEADER + 2 * SEALED :],
    )
    assert opened(header + first + second + third)
    for wrong in (
        header + first + second,
        header + first,
        header + first + third,
        header + first + second + second,
        header + first + second + third + third,
        header + second + first + third,
        header + first + second + third[:-1],
        header,
        header[:-1],
        header + b"x" * 16,
    ):
        with pytest.raises(BackupError, match=r"damaged|passphrase"):
            opened(wrong)


@pytest.mark.usefixtures("_quick_key")
def test_any_flipped_bit_is_noticed() -> None:
    content = sealed(b"something", b"secret")

    @given(st.integers(len(MAGIC), len(content) - 1), st.integers(0, 7))
    def check(place: int, bit: int) -> None:
        wrong = bytearray(content)
        wrong[place] ^= 1 << bit
        with pytest.raises(BackupError):
            opened(bytes(wrong))

    check()


def test_two_backups_of_the_same_are_not_alike() -> None:
    assert sealed(b"the same")[len(MAGIC) :] != sealed(b"the same")[len(MAGIC) :]


def test_the_key_costs_as_much_as_it_should() -> None:
    assert (encryption._COST, encryption._BLOCK_SIZE, encryption._PARALLEL) == (65536, 8, 2)


async def test_an_encrypted_backup_is_restored_with_its_passphrase_only(
    data: DataFolder, tmp_path: Path, fresh: DataFolder
) -> None:
    backup = tmp_path / "backup.tar.encrypted"
    await save(data, backup, passphrase=PASSPHRASE)
    content = backup.read_bytes()
    assert b"front_door" not in content
    assert b"ustar" not in content
    with pytest.raises(PassphraseError, match=r"is encrypted\. Give its passphrase with --passphrase-file"):
        verify(backup)
    with pytest.raises(PassphraseError, match="The passphrase is wrong"):
        verify(backup, "incorrect")
    assert verify(backup, PASSPHRASE).encrypted
    await put_back(backup, fresh, passphrase=PASSPHRASE)
    assert content_of(fresh.media) == content_of(data.media)
