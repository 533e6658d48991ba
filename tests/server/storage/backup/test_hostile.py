# SPDX-License-Identifier: AGPL-3.0-or-later
"""Archives that are whole, but that no honest program wrote: refused with a reason, and nothing written anywhere."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference_server.storage.backup import archive as archives
from inference_server.storage.backup.archive import ArchiveWriter, Member, is_safe
from inference_server.storage.backup.errors import BackupError
from inference_server.storage.backup.verify import verify
from inference_server.storage.data_folder import DataFolder
from tests.support.backups import content_of, database_of, forged, members, put_back, written

REGULAR, PICTURE = tarfile.REGTYPE, "media/front_door/ab/abcd.jpg"


def _member(name: str, kind: bytes = REGULAR, content: bytes = b"x", **fields: Any) -> bytes:
    """Return a member as any program may write it, with a header that follows the rules of tar."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, 0o600
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def _with(raw: bytes, target: Path) -> Path:
    """Write an archive that begins well, goes on with raw bytes and has a right checksum."""
    body = io.BytesIO()
    writer = ArchiveWriter(body)
    writer.add(Member("format.json", 13), [b'{"format": 1}'], lambda _: None)
    content = body.getvalue() + raw
    trailer = archives._trailer(hashlib.sha256(content).hexdigest())
    target.write_bytes(content + trailer)
    return target


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (_member("/etc/cron.d/x"), "no path of a backup"),
        (_member("media/../../x.jpg"), "no path of a backup"),
        (_member("media/a/../../../x.jpg"), "no path of a backup"),
        (_member("media//x.jpg"), "no path of a backup"),
        (_member("media/./x.jpg"), "no path of a backup"),
        (_member("media/a\\b.jpg"), "no path of a backup"),
        (_member("media/a\nb.jpg"), "no path of a backup"),
        (_member("media/\u202egpj.x"), "no path of a backup"),
        (_member("media/.hidden"), "no path of a backup"),
        (_member(PICTURE, tarfile.SYMTYPE, b"", linkname="/etc/passwd"), "no plain file"),
        (_member(PICTURE, tarfile.LNKTYPE, b"", linkname="format.json"), "no plain file"),
        (_member(PICTURE, tarfile.CHRTYPE, b"", devmajor=1, devminor=3), "no plain file"),
        (_member(PICTURE, tarfile.BLKTYPE, b""), "no plain file"),
        (_member(PICTURE, tarfile.FIFOTYPE, b""), "no plain file"),
        (_member("media/front_door", tarfile.DIRTYPE, b""), "no plain file"),
        (_member("x", tarfile.GNUTYPE_LONGNAME, b"a" * 5000), "no plain file"),
        (_member("x", tarfile.XHDTYPE, b"20 path=/etc/passwd\n"), "no plain file"),
        (_member("x", tarfile.GNUTYPE_SPARSE, b""), "unusual"),
        (_member(PICTURE, mode=0o4755), "unusual"),
        (_member(PICTURE, mtime=1), "unusual"),
        (_member(PICTURE, uid=1000), "unusual"),
        (_member(PICTURE, uname="root"), "unusual"),
        (_member("hsi.db"), "has no place in it"),
        (_member("token"), "has no place in it"),
        (_member("format.json", content=b'{"format": 1}'), "has no place in it"),
        (_member(PICTURE) + _member("database/frames.jsonl.gz"), "has no place in it"),
        (_member(PICTURE), "it has no manifest"),
        (_member(PICTURE)[:-1] + b"y", "something follows"),
        (b"", "it has no manifest"),
        (_member("manifest.json", content=b"{}"), "its manifest is wrong"),
        (_member("manifest.json", content=b"[" * 100_000), "its manifest is wrong"),
        (_member("manifest.json", content=b" " * (5 << 20)), "its manifest has 5242880 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "raw",
)
async def test_what_no_backup_holds_is_refused(raw: bytes, reason: str, tmp_path: Path, fresh: DataFolder) -> None:
    backup = _with(raw, tmp_path / "hostile.tar")
    before = content_of(tmp_path)
    with pytest.raises(BackupError, match=rf"(?s)is not trusted: .*{reason}.*Use one that hsi backup made"):
        await put_back(backup, fresh)
    assert content_of(tmp_path) == {**before, "fresh/.lock": b""}


async def test_a_member_that_claims_more_than_there_is_is_refused(tmp_path: Path, fresh: DataFolder) -> None:
    raw = bytearray(_member(PICTURE))
    info = tarfile.TarInfo(PICTURE)
    info.size, info.mode = archives.LARGEST_MEMBER, 0o600
    raw[:512] = info.tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(BackupError, match=r"ends too early|checksum"):
        await put_back(_with(bytes(raw), tmp_path / "hostile.tar"), fresh)


@pytest.mark.parametrize("first", ['{"format": 2}', '{"format": "1"}', "{}", "[]", "{", "[" * 900])
def test_another_format_is_refused(first: str, tmp_path: Path) -> None:
    with pytest.raises(
        BackupError, match=r"has the format 2; .*Install the version that made it|is not trusted|has the format"
    ):
        verify(written({"format.json": first.encode()}, tmp_path / "other.tar"))


def _changed_rows(
    table: str, change: Callable[[dict[str, Any]], object]
) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def changed(contents: dict[str, bytes]) -> dict[str, bytes]:
        name = f"database/{table}.jsonl.gz"
        rows = [json.loads(line) for line in gzip.decompress(contents[name]).splitlines()]
        lines = b"".join(json.dumps(change(row) or row).encode() + b"\n" for row in rows)
        manifest = json.loads(contents["manifest.json"])
        for entry in manifest["tables"]:
            if entry["name"] == table:
                entry["json_bytes"] = len(lines)
        return {**contents, name: gzip.compress(lines), "manifest.json": json.dumps(manifest).encode()}

    return changed


def _replaced(table: str, content: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda contents: {**contents, f"database/{table}.jsonl.gz": content}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_changed_rows("frames", lambda row: row.update(media_path="../../../etc/passwd")), "names the file"),
        (_changed_rows("frames", lambda row: row.update(media_path="/etc/passwd")), "names the file"),
        (_changed_rows("frames", lambda row: row.update(camera_id="nobody")), "rows of its table frames are wrong"),
        (_changed_rows("frames", lambda row: row.update(id=1)), "rows of its table frames are wrong"),
        (_changed_rows("frames", lambda row: row.update(width="wide")), "rows of its table frames are wrong"),
        (_changed_rows("frames", lambda row: row.update(width=2**70)), "rows of its table frames are wrong"),
        (_changed_rows("frames", lambda row: row.update(captured_at="2026-07-01")), "no time zone"),
        (_changed_rows("frames", lambda row: row.update(content_hash=None)), "rows of its table frames are wrong"),
        (_changed_rows("frames", lambda row: row.update({"id, 1); --": 1})), "the columns of its table"),
        (_changed_rows("frames", lambda _: {"id": 1}), "the columns of its table"),
        (_changed_rows("frames", lambda _: [1]), "the columns of its table"),
        (_changed_rows("announcement_sequence", lambda row: row.update(last=2**63 - 1)), "which leaves none"),
        (_changed_rows("tokens", lambda row: row.update(id=2**63 - 1)), "which leaves none"),
        (_changed_rows("events", lambda row: row.update(tracks="{")), "rows of its table events are wrong"),
        (_replaced("frames", b"no gzip"), "cannot be decompressed"),
        (_replaced("frames", gzip.compress(b"{}\n")[:-4]), "cannot be decompressed|columns"),
        (_replaced("frames", gzip.compress(b"[" * 100)), "rows of its table frames are wrong"),
        (_replaced("frames", gzip.compress(b"")), "there are not 3 of them"),
        (_replaced("frames", gzip.compress(b" " * (64 << 20))), "more of them than its manifest tells"),
    ],
)
async def test_rows_that_do_not_fit_are_refused(
    change: Callable[[dict[str, bytes]], dict[str, bytes]],
    reason: str,
    backup: Path,
    data: DataFolder,
    tmp_path: Path,
) -> None:
    hostile = forged(change(members(backup)), tmp_path / "hostile.tar")
    before = content_of(tmp_path)
    with pytest.raises(BackupError, match=rf"(?s)is not trusted: .*({reason})"):
        await put_back(hostile, data, replace=True)
    after = content_of(tmp_path)
    assert {name for name in after if before.get(name) != after[name]} == {"data/.lock"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"revision": "9999"}, r"made by version .* does not know\. Install that version"),
        ({"revision": "../x"}, "its manifest is wrong"),
        ({"format": 2}, "its manifest is wrong"),
        ({"created_at": "2026-01-01T00:00:00"}, "its manifest is wrong"),
        ({"tables": []}, "its tables are not those"),
        ({"media": None}, "its media files are not those"),
        ({"surprise": 1}, "its manifest is wrong"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    changes: dict[str, Any], reason: str, backup: Path, tmp_path: Path
) -> None:
    with pytest.raises(BackupError, match=reason):
        verify(forged(members(backup), tmp_path / "hostile.tar", **changes))


@pytest.mark.parametrize("left_out", ["assessments", "identity"])
async def test_a_backup_without_one_of_the_tables_is_refused(
    left_out: str, backup: Path, tmp_path: Path, fresh: DataFolder
) -> None:
    contents = members(backup)
    tables = [entry for entry in json.loads(contents["manifest.json"])["tables"] if entry["name"] != left_out]
    del contents[f"database/{left_out}.jsonl.gz"]
    contents["manifest.json"] = json.dumps(json.loads(contents["manifest.json"]) | {"tables": tables}).encode()
    with pytest.raises(BackupError, match=f"exactly the tables of revision .*: {left_out}"):
        await put_back(written(contents, tmp_path / "hostile.tar"), fresh)
    assert not database_of(fresh).exists()


async def test_a_link_in_the_media_folder_leads_nothing_outside(
    backup: Path, tmp_path: Path, fresh: DataFolder
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    fresh.media.mkdir(parents=True)
    (fresh.media / "front_door").symlink_to(outside)
    with pytest.raises(BackupError, match="leads out of the media folder"):
        await put_back(backup, fresh)
    assert content_of(outside) == {}


async def test_more_than_the_disk_has_is_refused_before_anything_is_written(
    backup: Path, tmp_path: Path, fresh: DataFolder
) -> None:
    contents = members(backup)
    manifest = json.loads(contents["manifest.json"])
    manifest["tables"][0]["json_bytes"] = 1 << 60
    contents["manifest.json"] = json.dumps(manifest).encode()
    with pytest.raises(BackupError, match=r"need .* MB, but only .* are free.*Free space"):
        await put_back(written(contents, tmp_path / "bomb.tar"), fresh)
    assert {path.name for path in fresh.root.iterdir()} == {".lock"}


@pytest.mark.parametrize("path", ["front_door/ab/abcd.jpg", "übung/a b/1.png"])
def test_paths_of_media_are_safe(path: str) -> None:
    assert is_safe(f"media/{path}")
