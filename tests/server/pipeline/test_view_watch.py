# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch over views in the pipeline: what is told, once, whatever the order and number of deliveries."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from sqlalchemy import URL

from inference_server.core.announcement import AnnouncementKind
from inference_server.core.camera import CameraSettings
from inference_server.core.detection import Detection
from inference_server.core.frame import FrameSource
from inference_server.core.view import View, ViewProblem
from inference_server.detection.detector import Picture
from inference_server.detection.preprocess import decode_picture
from inference_server.detection.scene import sign
from inference_server.ingest.admission import AdmittedFile
from inference_server.ingest.picture import examine
from inference_server.pipeline.view_watch import SeenView, ViewWatch
from inference_server.settings import SceneSettings
from inference_server.storage import camera_settings, frames, views
from scripts.development.samples import BUS, sample_path
from tests.support import days
from tests.support.bench import CAMERA, Bench, ScriptedDetector, bench
from tests.support.home import START
from tests.support.pictures import TINY_ALLOWED

type Pictures = list[tuple[datetime, bytes]]


class BlindDetector(ScriptedDetector):
    """Sees nothing in any picture."""

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """Return no detections."""
        return [() for _ in pictures]


def blind() -> BlindDetector:
    """Return a detector that wants pictures of the usual size."""
    return BlindDetector(input_size=640)


def ordinary(count: int, start: datetime = START) -> Pictures:
    """Pictures of a street, 15 s apart."""
    with Image.open(sample_path(BUS)) as bus:
        view = days.Day(ImageOps.fit(bus.convert("RGB"), days.SIZE), (bus.convert("RGB"),))
    times = (start + timedelta(seconds=15 * number) for number in range(count))
    return [(at, view.picture(at)) for at in times]


def covered(count: int, start: datetime) -> Pictures:
    """Pictures of a cloth, 15 s apart."""
    random, blank = np.random.default_rng(3), Image.new("RGB", days.SIZE)
    times = (start + timedelta(seconds=15 * number) for number in range(count))
    return [(at, days.encode(days.covered(blank, random), at)) for at in times]


LEARNT = ordinary(18)
NOW = LEARNT[-1][0]
COVERED = covered(6, NOW + timedelta(seconds=15))


def admitted(server: Bench, at: datetime, jpeg: bytes, source: FrameSource = FrameSource.FOLDER) -> AdmittedFile:
    picture = examine(jpeg, TINY_ALLOWED)
    return AdmittedFile(
        file=None,
        folder=CAMERA,
        camera_id=CAMERA,
        picture=picture,
        media_path=server.media.write(CAMERA, picture.content_hash, "jpg", jpeg),
        arrived_at=max(at, server.clock.now()),
        captured_at=at,
        source=source,
    )


async def send(server: Bench, pictures: Pictures, source: FrameSource = FrameSource.FOLDER) -> None:
    for at, jpeg in pictures:
        await server.take(admitted(server, at, jpeg, source))


async def problems(server: Bench) -> list[ViewProblem]:
    return [problem.kind for problem in (await server.state()).view_problems]


async def view_of(server: Bench) -> View:
    async with server.database.reading() as connection:
        return (await views.get_many(connection, [CAMERA]))[CAMERA]


async def test_a_covered_camera_is_told_once_and_survives_a_restart(tmp_path: Path, where: URL | None) -> None:
    async with bench(tmp_path, scripted=blind(), scene=SceneSettings(), where=where) as server:
        await send(server, [*LEARNT, *COVERED[:3]])
        await server.work()
        assert await problems(server) == []
        await server.told()
    async with bench(tmp_path, scripted=blind(), scene=SceneSettings(), where=where) as server:
        server.told_until = await last_sequence(server)
        await send(server, COVERED[3:])
        await server.work()
        assert await problems(server) == [ViewProblem.BLOCKED, ViewProblem.TAMPERED]
        told = [item for item in await server.told() if item.camera and item.camera.view_problems]
        assert {item.kind for item in told} == {AnnouncementKind.CAMERA_UPDATED}
        assert told[0].camera is not None
        assert told[0].camera.view_problems[0].since == COVERED[0][0]
        assert await server.events() == []

        await send(server, ordinary(5, COVERED[-1][0] + timedelta(seconds=15)))
        await server.work()
        assert await problems(server) == []
        *_, last = await server.told()
        assert last.camera is not None
        assert last.camera.view_problems == ()


async def last_sequence(server: Bench) -> int:
    server.told_until = 0
    await server.told()
    return server.told_until


async def test_deliveries_in_any_shares_come_to_the_same(tmp_path: Path) -> None:
    remembered = []
    for name, share in (("one by one", 1), ("all at once", 100)):
        async with bench(tmp_path / name, scripted=blind(), scene=SceneSettings()) as server:
            pictures = [*LEARNT, *COVERED]
            for start in range(0, len(pictures), share):
                await send(server, pictures[start : start + share])
                messages = await server.broker.claim(server.detect.name, 100)
                await server.detect.consume(messages)
            view = await view_of(server)
            remembered.append((view.state, {light: known.pictures for light, known in view.baselines.items()}))
    assert remembered[0] == remembered[1]


async def test_imported_and_late_pictures_change_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path, scripted=blind(), scene=SceneSettings()) as server:
        await send(server, LEARNT)
        await server.work()
        before = await view_of(server)
        server.clock.time = NOW + timedelta(hours=1)
        await send(server, covered(8, NOW + timedelta(seconds=15)), FrameSource.IMPORT)
        await send(server, covered(8, NOW - timedelta(hours=5)))
        await server.work()
        assert (await view_of(server)).state == before.state
        assert await problems(server) == []


async def test_a_camera_that_turns_is_not_watched(tmp_path: Path) -> None:
    async with bench(tmp_path, scripted=blind(), scene=SceneSettings()) as server:
        await send(server, LEARNT)
        await server.work()
        async with server.database.writing() as connection:
            await camera_settings.change(connection, CAMERA, CameraSettings(watch_view=False))
        await send(server, COVERED)
        await server.work()
        assert await problems(server) == []
        assert not (await view_of(server)).baselines


async def test_a_second_delivery_changes_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path, scripted=blind(), scene=SceneSettings()) as server:
        await send(server, [*LEARNT, *COVERED])
        await server.work()
        before = await view_of(server)
        async with server.database.writing() as connection:
            found = (await frames.get_many(connection, range(1, 25))).values()
            again = [
                SeenView(frame, sign(decode_picture(server.media.read(frame.media_path), 640).pixels))
                for frame in found
            ]
            assert len(again) == 24
            assert await ViewWatch(SceneSettings(), server.clock, server.judging).take(connection, again) is False
        assert (await view_of(server)).state == before.state


async def test_the_watch_can_be_turned_off(tmp_path: Path) -> None:
    async with bench(tmp_path, scripted=blind(), scene=SceneSettings(enabled=False)) as server:
        await send(server, [*LEARNT, *COVERED])
        await server.work()
        assert await problems(server) == []
        assert not (await view_of(server)).baselines
