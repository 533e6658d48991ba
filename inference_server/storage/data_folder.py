# SPDX-License-Identifier: AGPL-3.0-or-later
"""The data folder: everything that is kept lies in it, and one server at a time uses it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class DataFolderError(Exception):
    """The data folder cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where each thing lies."""

    root: Path

    @property
    def media(self) -> Path:
        """The folder of the pictures."""
        return self.root / "media"

    @property
    def uploads(self) -> Path:
        """The folder in which files are received that have no name yet."""
        return self.root / "uploads"

    @property
    def backups(self) -> Path:
        """The folder of the backups that the server makes."""
        return self.root / "backups"

    @property
    def token(self) -> Path:
        """The file with the integration's token."""
        return self.root / "token"

    @property
    def detector_token(self) -> Path:
        """The file with the detector service's token, where the settings give none."""
        return self.root / "detector-token"

    @property
    def analyst_token(self) -> Path:
        """The file with the analyst service's token, where the settings give none."""
        return self.root / "analyst-token"

    @property
    def ftp_certificate(self) -> Path:
        """The file with the FTP server's own certificate and key, where the owner gave none."""
        return self.root / "ftp-certificate.pem"

    def prepare(self) -> None:
        """Make the folder. Raises DataFolderError."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DataFolderError(
                f"The data folder {self.root} cannot be made: {error.strerror}. "
                "Choose another one with HSI_DATA_DIR, or give this user the right to write there."
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other servers out. The lock goes with the process, however that ends. Raises DataFolderError."""
        try:
            descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataFolderError(
                f"The data folder {self.root} cannot be written: {error.strerror}. Check its owner and permissions."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise DataFolderError(
                f"Another server is using the data folder {self.root}. Stop it, or set HSI_DATA_DIR to another folder."
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)
