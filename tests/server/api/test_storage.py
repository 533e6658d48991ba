# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is stored and cleaned up, as an operator sees it: from pictures in camera folders to the answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from inference_server.api.application import create_application
from inference_server.ingest.admission import Admission, AdmittedFile
from inference_server.pipeline import accounts
from inference_server.settings import RetentionSettings
from inference_server.storage import arrivals
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.tables import frames
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect, all_items
from tests.support.bench import CAMERA, Bench, a_person, bench
from tests.support.home import Home
from tests.support.pictures import TINY_ALLOWED, plain_png

EMPTY = {"count": 0, "bytes": 0}
DAYS = RetentionSettings(low=2, medium=2, high=2, critical=2, frames_days=1, originals="prune", originals_days=1)


class Street:
    """A pipeline that is fed by files in a camera's folder, and its interface."""

    def __init__(self, pipeline: Bench, home: Home, client: Client) -> None:
        """Take the parts."""
        self.pipeline = pipeline
        self.home = home
        self.client = client
        self.folder = home.settings.watch_folder / CAMERA
        self.folder.mkdir(parents=True)
        root, known = home.settings.watch_folder, home.known_cameras
        self._admission = Admission(root, home.media, TINY_ALLOWED, home.clock, known)
        self._number = 0

    async def passes(self, *, person: bool) -> Path:
        """Let the camera upload a picture, with a person on it or of nobody, and work until its event is over."""
        self._number += 1
        file = self.folder / f"{self._number}.png"
        file.write_bytes(plain_png(self._number))
        self.pipeline.detector.script[self._number] = [a_person()] if person else []
        await self.admit(file)
        await self.pipeline.work()
        self.home.clock.move(minutes=5)
        await self.pipeline.work()
        return file

    async def admit(self, file: Path) -> None:
        """Admit a file unless it was seen before, as a scan does."""
        version = FileVersion.of(f"{CAMERA}/{file.name}", file.lstat())
        async with self.home.database.reading() as connection:
            if not await arrivals.unseen(connection, [version]):
                return
        outcome, now = self._admission.admit(file), self.home.clock.now()
        assert isinstance(outcome, AdmittedFile)
        await self.pipeline.take(replace(outcome, arrived_at=now, captured_at=now))

    async def cleaned(self, **query: str) -> dict[str, Any]:
        """Ask for a cleanup."""
        response = await self.client.post("/api/system/cleanup", params=query)
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer

    async def storage(self) -> dict[str, Any]:
        """Ask what is stored."""
        response = await self.client.get("/api/system/storage")
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer


@pytest.fixture
async def street(tmp_path: Path, aiohttp_client: Callable[..., Awaitable[Client]]) -> AsyncIterator[Street]:
    """Give a street with one camera."""
    async with _street(tmp_path, aiohttp_client) as made:
        yield made


@asynccontextmanager
async def _street(folder: Path, aiohttp_client: Callable[..., Awaitable[Client]]) -> AsyncIterator[Street]:
    async with bench(folder) as pipeline:
        home = Home(pipeline.database, pipeline.media, pipeline.clock, announced=pipeline.announced, retention=DAYS)
        headers = {"Authorization": f"Bearer {await home.token(Scope.ADMIN)}"}
        client = await aiohttp_client(create_application(home.context()), headers=headers)
        yield Street(pipeline, home, client)


async def test_pictures_go_after_their_days_and_are_not_admitted_again(street: Street) -> None:
    nobody, person = await street.passes(person=False), await street.passes(person=True)
    newest = await street.passes(person=False)
    sizes = {file: file.stat().st_size for file in (nobody, person, newest)}
    street.home.later(days=1)

    planned = await street.cleaned(dry_run="true")
    assert planned["frames"] == {"count": 1, "bytes": sizes[nobody]}
    assert planned["originals"] == {"count": 3, "bytes": sum(sizes.values())}
    assert planned["bytes"] == sizes[nobody] + sum(sizes.values())
    assert (await street.storage())["next_cleanup"] == planned
    assert nobody.exists()
    assert len(await all_items(street.client, "/api/events", 10)) == 1

    assert await street.cleaned() == planned
    assert [file.exists() for file in (nobody, person, newest)] == [False] * 3
    (event,) = await all_items(street.client, "/api/events", 10)
    assert (await street.client.get(f"/api/events/{event['id']}/snapshot.jpg")).status == 200
    assert (await street.client.get(f"/api/cameras/{CAMERA}/latest.jpg")).status == 200

    street.home.later(days=1)
    done = await street.cleaned()
    assert done["events"]["medium"]["count"] + done["events"]["low"]["count"] == 1
    assert await all_items(street.client, "/api/events", 10) == []
    assert (await street.client.get(f"/api/events/{event['id']}/snapshot.jpg")).status == 404
    camera = await (await street.client.get(f"/api/cameras/{CAMERA}")).json()
    assert camera["last_event_id"] is None
    assert (await street.client.get(f"/api/cameras/{CAMERA}/latest.jpg")).status == 200


async def test_an_original_that_was_kept_is_not_judged_again(street: Street) -> None:
    file = await street.passes(person=True)
    await street.passes(person=False)
    street.home.later(days=3)
    inside = file.rename(street.folder / "aside")  # away during the cleanup, so that it is kept
    assert (await street.cleaned())["originals"]["count"] == 1
    inside.rename(file)
    await street.admit(file)
    await street.pipeline.work()
    assert await all_items(street.client, "/api/events", 10) == []
    async with street.home.database.reading() as connection:
        assert len((await connection.execute(select(frames.c.id))).all()) == 1


async def test_a_cleanup_beside_live_pictures_loses_none_of_them(street: Street) -> None:
    for _ in range(30):
        await street.passes(person=True)
    street.home.later(days=3)
    known = {item["id"] for item in await all_items(street.client, "/api/events", 100)}

    async def live() -> list[Path]:
        return [await street.passes(person=True) for _ in range(10)]

    done, files = await asyncio.gather(street.cleaned(), live())
    assert sum(amount["count"] for amount in done["events"].values()) == 30
    left = await all_items(street.client, "/api/events", 100)
    assert len(left) == 10
    assert not known & {item["id"] for item in left}
    for event in left:
        assert (await street.client.get(f"/api/events/{event['id']}/snapshot.jpg")).status == 200
    assert all(file.exists() for file in files)
    info = await (await street.client.get("/api/system/health/full")).json()
    (component,) = (item for item in info["components"] if item["name"] == "cleanup")
    assert (component["state"], component["details"]["deleted_events"]) == ("ok", 30)


async def test_what_is_stored_is_counted_by_kind_and_camera(
    a_home: Home, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for camera in ("front_door", "garden"):
        await a_home.camera(camera)
    high, low = await a_home.ended_event(score=70), await a_home.ended_event("garden", score=10)
    trashed, plain = await a_home.thrown_away("garden"), await a_home.frame("garden")
    client = await connect(Scope.READ)
    told = await (await client.get("/api/system/storage")).json()

    async with a_home.database.reading() as connection:
        rows = {row.id: row for row in await connection.execute(select(frames))}
    # older versions noted no sizes: the files were measured
    sizes = {id_: (a_home.media.root / row.media_path).stat().st_size for id_, row in rows.items()}
    assert {id_: row.size_bytes for id_, row in rows.items()} == sizes
    assert told["events"] == {
        "low": {"count": 1, "bytes": sizes[low.best_frame_id]},
        "medium": EMPTY,
        "high": {"count": 1, "bytes": sizes[high.best_frame_id]},
        "critical": EMPTY,
    }
    assert told["frames"] == {"count": 1, "bytes": sizes[plain]}
    assert told["trash"] == {"count": 1, "bytes": sizes[trashed.best_frame_id]}
    garden = sizes[low.best_frame_id] + sizes[trashed.best_frame_id] + sizes[plain]
    assert told["cameras"] == [
        {
            "camera_id": "front_door",
            "events": 1,
            "frames": {"count": 1, "bytes": sizes[high.best_frame_id]},
            "clips": EMPTY,
        },
        {"camera_id": "garden", "events": 1, "frames": {"count": 3, "bytes": garden}, "clips": EMPTY},
    ]
    assert told["oldest_event_at"] == "2026-11-23T08:00:00Z"
    assert told["database_bytes"] >= a_home.file.stat().st_size
    (disk,) = told["disks"]
    assert set(disk["holds"]) == {"database", "media", "cameras"}
    assert disk["total_bytes"] >= disk["free_bytes"] > 0
    assert 0 <= disk["used_percent"] <= 100
    assert (told["problems"], told["next_cleanup_at"]) == ([], "2026-11-24T03:00:00Z")
    assert told["next_cleanup"]["bytes"] == 0

    looked = 0
    strays = a_home.upkeep.cleaner.strays

    async def counted() -> object:
        nonlocal looked
        looked += 1
        return await strays()

    monkeypatch.setattr(a_home.upkeep.cleaner, "strays", counted)
    assert await (await client.get("/api/system/storage")).json() == told  # every file is looked at once a minute
    assert looked == 0
    a_home.clock.time += accounts.REMEMBERED
    await client.get("/api/system/storage")
    assert looked == 1


async def test_a_disk_that_cannot_be_looked_at_is_said(a_home: Home, connect: Connect) -> None:
    a_home.settings.watch_folder.symlink_to(a_home.settings.watch_folder.name)
    client = await connect(Scope.READ)
    told = await (await client.get("/api/system/storage")).json()
    (problem,) = told["problems"]
    assert "cannot be looked at: Too many levels of symbolic links" in problem
    assert [disk["holds"] for disk in told["disks"]] == [["media", "database"]]


async def test_a_damaged_row_does_not_delete_outside_the_media_folder(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    frame_id = await a_home.frame()
    await a_home.frame()
    outside = a_home.settings.data_dir / "precious.txt"
    outside.write_bytes(b"stays")
    async with a_home.database.writing() as connection:
        await connection.execute(update(frames).where(frames.c.id == frame_id).values(media_path="../precious.txt"))
    a_home.later(days=30)
    client = await connect(Scope.ADMIN)
    assert (await client.post("/api/system/cleanup")).status == 200
    assert outside.read_bytes() == b"stays"
