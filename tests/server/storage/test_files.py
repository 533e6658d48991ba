# SPDX-License-Identifier: AGPL-3.0-or-later
"""The picture files and the lock on the data folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inference_server.storage.data_folder import DataFolder, DataFolderError
from inference_server.storage.media import MediaFolder
from tests.support.privileges import public_folder, unprivileged

CONTENT = b"a picture" * 200

HOLD_THE_LOCK = """
import pathlib, sys
from inference_server.storage.data_folder import DataFolder
with DataFolder(pathlib.Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_picture_lies_at_its_camera_and_its_hash(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path / "media")
    path = media.write("front_door", "abc", "jpg", CONTENT)
    assert path == "front_door/ab/abc.jpg"
    assert media.read(path) == CONTENT
    assert _files(media.root) == [path]


def _aged(media: MediaFolder, path: str, seconds: float = 3600) -> Path:
    """Make a file older and return it."""
    file = media.root / path
    at = time.time() - seconds
    os.utime(file, (at, at))
    return file


def test_a_file_is_deleted_and_measured(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path)
    path = media.write("front_door", "abc", "jpg", CONTENT)
    file = _aged(media, path)
    assert (media.size(path), media.delete(path)) == (len(CONTENT), len(CONTENT))
    assert (media.size(path), media.delete(path)) == (None, None)
    assert list(file.parent.iterdir()) == []
    assert media.delete("nowhere/at/all.jpg") is None


def test_a_file_that_is_wanted_again_is_not_deleted(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path)
    path = media.write("front_door", "abc", "jpg", CONTENT)
    file = _aged(media, path)
    media.write("front_door", "abc", "jpg", CONTENT)
    assert media.delete(path) is None
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("when", ["before it is moved aside", "after it was moved aside"])
def test_a_file_that_is_wanted_again_at_the_last_moment_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    media = MediaFolder(tmp_path)
    path = media.write("front_door", "abc", "jpg", CONTENT)
    file = _aged(media, path)
    rename = Path.rename

    def wanted_meanwhile(self: Path, target: Path) -> Path:
        if when.startswith("before"):
            media.write("front_door", "abc", "jpg", CONTENT)
            return rename(self, target)
        moved = rename(self, target)
        media.write("front_door", "abc", "jpg", CONTENT)
        return moved

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", wanted_meanwhile)
        media.delete(path)
    assert file.read_bytes() == CONTENT
    assert list(file.parent.iterdir()) == [file]


def test_only_what_lies_in_the_media_folder_is_deleted(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path / "media")
    media.write("front_door", "abc", "jpg", CONTENT)
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(CONTENT)
    os.utime(outside, (1, 1))
    (media.root / "link").symlink_to(tmp_path, target_is_directory=True)
    (media.root / "file.jpg").symlink_to(outside)
    os.utime(media.root / "file.jpg", (1, 1), follow_symlinks=False)
    for path in ("../outside.jpg", "link/outside.jpg", str(outside)):
        with pytest.raises(ValueError, match="outside the media folder"):
            media.delete(path)
    assert media.delete("file.jpg") is not None  # the link, and not what it leads to
    assert outside.read_bytes() == CONTENT


def test_the_same_content_is_not_written_twice(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path)
    path = media.write("front_door", "abc", "jpg", CONTENT)
    before = (tmp_path / path).stat()
    assert media.write("front_door", "abc", "jpg", CONTENT) == path
    after = (tmp_path / path).stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)


def test_a_file_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path)
    path = media.write("front_door", "abc", "jpg", CONTENT)
    (tmp_path / path).write_bytes(CONTENT[:10])
    media.write("front_door", "abc", "jpg", CONTENT)
    assert media.read(path) == CONTENT


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        MediaFolder(tmp_path).write("front_door", "abc", "jpg", CONTENT)
    assert _files(tmp_path) == []


@pytest.mark.parametrize("path", ["../secret", "front_door/../../secret", "/etc/hostname", "link/secret"])
def test_a_path_outside_is_not_read(tmp_path: Path, path: str) -> None:
    media = MediaFolder(tmp_path / "media")
    media.root.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (media.root / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="outside the media folder"):
        media.read(path)


def test_a_picture_that_is_gone_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        MediaFolder(tmp_path).read("front_door/2026/11/24/abc.jpg")


def _start_holder(root: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_a_second_process_is_kept_out_until_the_first_is_gone_even_by_kill(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with _start_holder(tmp_path) as holder:
        with pytest.raises(DataFolderError, match=r"Another server is using .*Stop it, or set HSI_DATA_DIR"):
            folder.lock().__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with folder.lock():
        pass


def test_the_lock_is_free_again_after_the_block(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    for _ in range(2):
        with folder.lock(), pytest.raises(DataFolderError):
            folder.lock().__enter__()


def test_the_data_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "new" / "data")
    folder.prepare()
    folder.prepare()
    assert folder.root.stat().st_mode & 0o777 == 0o700


def test_a_data_folder_that_cannot_be_made_has_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for root in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(DataFolderError, match="Choose another one with HSI_DATA_DIR"):
            DataFolder(root).prepare()


def test_a_data_folder_without_the_right_to_write_has_a_remedy() -> None:
    with public_folder() as folder:
        folder.chmod(0o555)
        with unprivileged(), pytest.raises(DataFolderError, match="Check its owner and permissions"):
            DataFolder(folder).lock().__enter__()


def test_everything_that_is_kept_lies_in_the_data_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert {folder.media.parent, folder.token.parent} == {tmp_path}
