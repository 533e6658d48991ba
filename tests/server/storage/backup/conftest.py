# SPDX-License-Identifier: AGPL-3.0-or-later
"""A data folder with something of everything, and a backup of it: made once, copied for each test."""

import asyncio
import shutil
from pathlib import Path

import pytest

from inference_server.storage.backup import encryption
from inference_server.storage.data_folder import DataFolder
from tests.support.backups import filled, save


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a filled data folder, `data`, and its backup, `backup.tar`."""
    folder = tmp_path_factory.mktemp("made_once")

    async def make() -> None:
        await save(await filled(folder / "data"), folder / "backup.tar")

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(make())
    return folder


@pytest.fixture
def data(made_once: Path, tmp_path: Path) -> DataFolder:
    """Give a filled data folder."""
    shutil.copytree(made_once / "data", tmp_path / "data")
    return DataFolder(tmp_path / "data")


@pytest.fixture
def backup(made_once: Path, data: DataFolder, tmp_path: Path) -> Path:
    """Give a backup of it."""
    copy = tmp_path / "backup.tar"
    shutil.copy(made_once / "backup.tar", copy)
    return copy


@pytest.fixture
def fresh(tmp_path: Path) -> DataFolder:
    """Give a data folder that does not exist yet."""
    return DataFolder(tmp_path / "fresh")


@pytest.fixture
def _quick_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make keys at little cost."""
    monkeypatch.setattr(encryption, "_COST", 1 << 4)
