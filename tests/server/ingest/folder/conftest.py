# SPDX-License-Identifier: AGPL-3.0-or-later
"""A watch root in a temporary folder."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inference_server.ingest.folder import admitting, names, watch
from inference_server.observability.health import HealthBoard
from inference_server.settings import WatchMode
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder
from tests.support.home import MovableClock
from tests.support.recording_intake import RecordingIntake
from tests.support.watched import LONG, Watched


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """Give a watch root with two cameras; files that nobody is seen to close count only after a long time."""
    monkeypatch.setattr(admitting, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(watch, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(names, "SETTLED_SECONDS", LONG)
    database = Database(tmp_path / "hsi.db")
    await database.open()
    for name in ("outside", "cameras/front", "cameras/back"):
        (tmp_path / name).mkdir(parents=True)
    yield Watched(
        root=tmp_path / "cameras",
        outside=tmp_path / "outside",
        media=MediaFolder(tmp_path / "media"),
        intake=RecordingIntake(database=database),
        health=HealthBoard(MovableClock()),
        database=database,
    )
    await database.close()


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Give a function that sets how long a file has to rest."""
    return lambda seconds: monkeypatch.setattr(names, "SETTLED_SECONDS", seconds)


@pytest.fixture(params=[WatchMode.INOTIFY, WatchMode.POLLING])
def either(watched: Watched, settle: Callable[[float], None], request: pytest.FixtureRequest) -> Watched:
    """Give a watch root that is watched in either way; files settle quickly."""
    settle(0.1)
    watched.mode = request.param
    return watched
