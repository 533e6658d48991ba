# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ways between cameras are learnt from what happened, hour by hour, and join what happens next."""

from datetime import timedelta
from pathlib import Path

import pytest

from inference_server.core.camera import Camera
from inference_server.core.detection import Category
from inference_server.core.transition import Transition
from inference_server.pipeline.transitions import TransitionLearning
from inference_server.storage import cameras, transitions
from tests.support.bench import Bench, a_person, bench

WITHIN = timedelta(minutes=2)


async def _known(made: Bench) -> dict[tuple[str, str], Transition]:
    async with made.database.reading() as connection:
        return {(item.from_camera, item.to_camera): item for item in await transitions.every(connection)}


async def _walk(made: Bench, *on: str) -> None:
    for camera_id in on:
        await made.see(a_person(), camera=camera_id)
        made.clock.move(seconds=40)


async def test_a_way_is_learnt_by_any_of_several_processes_and_then_joins(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, bench(tmp_path, made.clock, scripted=made.detector) as other:
        learning = [TransitionLearning(one.database, one.clock, within=WITHIN) for one in (made, other)]
        await learning[0].look()
        for _ in range(12):
            await _walk(made, "gate", "shed")
            made.clock.move(minutes=30)
        assert {one.cameras for one in await made.incidents()} == {("gate",), ("shed",)}
        for _ in range(3):
            made.clock.move(hours=1)
            for one in learning:
                await one.look()
        known = await _known(made)
        there, back = known["gate", "shed"], known["shed", "gate"]
        assert there.onsets == there.followed == pytest.approx(12, rel=0.01)  # the first ones are a day old
        assert there.by_chance == back.followed == 0
        await _walk(made, "gate", "shed")
        assert (await made.incidents())[-1].cameras == ("gate", "shed")
        made.clock.move(minutes=10)
        await _walk(made, "shed", "gate")
        assert {one.cameras for one in (await made.incidents())[-2:]} == {("shed",), ("gate",)}


async def test_who_stays_comes_once(a_bench: Bench) -> None:
    begin = a_bench.clock.now()
    for _ in range(20):  # longer than an event
        await a_bench.see(a_person(), camera="gate")
        a_bench.clock.move(seconds=10)
    assert len(await a_bench.events()) > 1
    async with a_bench.database.writing() as connection:
        await cameras.add(connection, Camera("shed", "Shed", begin))
        (onset,) = await transitions.onsets(connection, begin, a_bench.clock.now())
    assert (onset.camera_id, onset.category, onset.at) == ("gate", Category.PERSON, begin)
