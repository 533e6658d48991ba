# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera's folder as its account sees it: nothing outside, and unfinished uploads under their own names."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import override

from pyftpdlib.exceptions import FilesystemError
from pyftpdlib.filesystems import AbstractedFS
from pyftpdlib.handlers import FTPHandler

from inference_server.ingest.folder.names import is_path_wanted
from inference_server.ingest.ftp.house import House
from inference_server.ingest.ftp.names import UNFINISHED, is_reserved, name_problem
from inference_server.ingest.ftp.upload import Upload, Uploads

PART_SECONDS = 24 * 3600.0
"""How long an upload that broke off can be resumed."""


class CameraFolder(AbstractedFS):
    """Paths are absolute and below the account's folder; pyftpdlib asks `validpath` about each before anything else."""

    readlink = None
    """Where a link leads is nobody's business."""

    def __init__(self, house: House, root: str, session: FTPHandler) -> None:
        """Take the account's folder."""
        super().__init__(root, session)
        self._uploads = house.uploads
        self._limit = house.settings.max_file_bytes

    @override
    def validpath(self, path: str) -> bool:
        return bool(super().validpath(path)) and not is_reserved(self._relative(path))

    def receive(self, path: str, *, offset: int, append: bool) -> Upload:
        """Open an upload of a file: anew, from an offset, or at the end of what there is.

        Raises FilesystemError, OSError.
        """
        target, part = Path(path), self._part(path)
        self._check_name(path)
        if target.is_dir():
            raise FilesystemError("There is a folder of this name")
        if not target.parent.is_dir():
            raise FilesystemError("There is no such folder; make it first")
        self._end_older(part)
        part.parent.mkdir(parents=True, exist_ok=True)
        if offset or append:
            offset = self._continue(target, part, None if append else offset)
        upload = Upload(part, target, offset=offset, limit=self._limit)
        self._uploads[part] = upload
        return upload

    def _end_older(self, part: Path) -> None:
        older = self._uploads.get(part)
        if older is not None and older.is_finishing:
            raise FilesystemError("The same file is just coming into its place; send it again")
        if older is not None:
            older.give_way()

    def _continue(self, target: Path, part: Path, offset: int | None) -> int:
        """Return where an upload goes on, after laying a copy of a finished file where it can be added to."""
        shown = self._shown(str(target))
        size = shown.stat().st_size if shown.is_file() else 0
        if offset is not None and offset > size:
            raise FilesystemError(f"There are {size} bytes of the file; begin at most there")
        if size and shown != part:
            shutil.copyfile(target, part, follow_symlinks=False)
        return size if offset is None else offset

    @override
    def chdir(self, path: str) -> None:
        if not Path(path).is_dir():
            raise FilesystemError("There is no such folder")
        self.cwd = self.fs2ftp(path)  # the process has no folder of its own for each client

    @override
    def mkdir(self, path: str) -> None:
        self._check_name(path)
        Path(path).mkdir()

    @override
    def remove(self, path: str) -> None:
        """Delete an unfinished upload, or a file that is no picture: pictures are not the camera's to take back."""
        part = self._part(path)
        if part.is_file():
            part.unlink()
        elif is_path_wanted(self._relative(path)):
            raise FilesystemError("Pictures that arrived are kept")
        else:
            Path(path).unlink()

    @override
    def rename(self, src: str, dst: str) -> None:
        self._check_name(dst)
        if Path(dst).is_dir():
            raise FilesystemError("There is a folder of this name")
        Path(src).replace(dst)

    @override
    def listdir(self, path: str) -> list[str]:
        names = {entry.name for entry in Path(path).iterdir() if not is_reserved(self._relative(str(entry)))}
        parts = self._part(path)
        if parts.is_dir():
            names |= {entry.name for entry in parts.iterdir() if entry.is_file()}
        return sorted(names)

    @override
    def stat(self, path: str) -> os.stat_result:
        return self.lstat(path)  # what a link leads to is not told

    @override
    def lstat(self, path: str) -> os.stat_result:
        return self._shown(path).lstat()

    @override
    def isfile(self, path: str) -> bool:
        return self._shown(path).is_file()

    @override
    def getsize(self, path: str) -> int:
        return self._shown(path).stat().st_size

    @override
    def getmtime(self, path: str) -> float:
        return self._shown(path).stat().st_mtime

    @override
    def utime(self, path: str, timeval: float) -> None:
        os.utime(self._shown(path), (timeval, timeval))

    @override
    def get_user_by_uid(self, uid: int) -> str:
        return "camera"

    @override
    def get_group_by_gid(self, gid: int) -> str:
        return "camera"

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def _part(self, path: str) -> Path:
        """Return where the unfinished upload of a file lies."""
        return Path(self.root, UNFINISHED, self._relative(path))

    def _shown(self, path: str) -> Path:
        """Return the file that stands for a path: its unfinished upload, where there is one."""
        part = self._part(path)
        return part if part.is_file() else Path(path)

    def _check_name(self, path: str) -> None:
        if problem := name_problem(self._relative(path)):
            raise FilesystemError(problem)


def delete_old_parts(root: Path, uploads: Uploads) -> None:
    """Delete, below the watch root, what can no longer be resumed and the folders that it leaves empty."""
    too_old = time.time() - PART_SECONDS
    for folder in root.glob(f"*/{UNFINISHED}"):
        for parent, _, names in folder.walk(top_down=False):
            for part in (parent / name for name in names):
                with suppress(OSError):  # it has just come into its place
                    if part not in uploads and part.lstat().st_ctime < too_old:
                        part.unlink()
            with suppress(OSError):  # something is still in it
                parent.rmdir()
