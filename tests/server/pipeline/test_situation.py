# SPDX-License-Identifier: AGPL-3.0-or-later
"""The situation through the pipeline: the state of the home, the other cameras and what happened before weigh."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from inference_server.core.camera import Camera, CameraSettings
from inference_server.core.context import STALE_AFTER, AlarmState, CameraPlace, HomeContext, Mode
from inference_server.core.view import LastingProblem, ViewProblem
from inference_server.risk.weights import shipped_weights
from inference_server.storage import camera_settings, cameras, home_context, views
from tests.support.bench import CAMERA, Bench, a_person


async def _points(made: Bench) -> Mapping[str, int]:
    latest = max(await made.events(), key=lambda event: event.id)
    return {factor.name: factor.points for factor in latest.assessment.factors}


async def _tell(made: Bench, **told: Any) -> None:
    context = HomeContext(made.clock.now(), **told)
    async with made.database.writing() as connection:
        await home_context.tell(connection, context)


async def _place(made: Bench, camera_id: str, settings: CameraSettings) -> None:
    async with made.database.writing() as connection:
        await cameras.add(connection, Camera(camera_id, camera_id.replace("_", " "), made.clock.now()))
        await camera_settings.change(connection, camera_id, settings)


@pytest.mark.parametrize(
    ("told", "factor"),
    [
        ({"mode": Mode.AWAY}, "nobody_home"),
        ({"people_home": 0}, "nobody_home"),
        ({"mode": Mode.NIGHT}, "person_at_night"),
        ({"mode": Mode.DISARMED}, "guests_expected"),
        ({"alarm": AlarmState.TRIGGERED}, "alarm_triggered"),
        ({"sun_is_up": False}, "after_dark"),
        ({"quiet_hours": True}, "quiet_hours"),
    ],
)
async def test_what_home_assistant_tells_weighs(a_bench: Bench, told: Mapping[str, object], factor: str) -> None:
    await a_bench.see(a_person())
    assert factor not in await _points(a_bench)
    await _tell(a_bench, **told)
    await a_bench.see(a_person())
    assert factor in await _points(a_bench)


async def test_who_is_home_counts_more_than_the_mode(a_bench: Bench) -> None:
    await _tell(a_bench, mode=Mode.AWAY, people_home=1)
    await a_bench.see(a_person())
    assert "nobody_home" not in await _points(a_bench)


async def test_what_was_told_too_long_ago_is_not_known_any_more_and_the_event_says_so(a_bench: Bench) -> None:
    await _tell(a_bench, mode=Mode.AWAY)
    a_bench.clock.move(seconds=STALE_AFTER.total_seconds() + 1)
    await a_bench.see(a_person())
    assert "nobody_home" not in await _points(a_bench)
    (event,) = await a_bench.events()
    assert "has not told the state of the home since" in event.assessment.reasoning


async def test_who_is_inside_an_empty_house_is_a_burglar(a_bench: Bench) -> None:
    await _place(a_bench, CAMERA, CameraSettings(place=CameraPlace.INDOORS))
    await _tell(a_bench, people_home=0)
    await a_bench.see(a_person())
    (event,) = await a_bench.events()
    assert event.assessment.score >= 60
    await _tell(a_bench, people_home=2)
    a_bench.clock.move(minutes=5)
    await a_bench.see(a_person())
    assert max(await a_bench.events(), key=lambda e: e.id).assessment.score < 10


async def test_a_stay_goes_on_from_one_event_to_the_next(a_bench: Bench) -> None:
    for _ in range(13):
        await a_bench.see(a_person(x=10))
        a_bench.clock.move(seconds=10)
    assert len(await a_bench.events()) == 2
    assert (await _points(a_bench))["lingering"] == shipped_weights()["lingering"].reached(120)


async def test_another_person_elsewhere_in_the_picture_stays_for_itself(a_bench: Bench) -> None:
    for number in range(13):
        await a_bench.see(a_person(x=10 if number < 10 else 50))
        a_bench.clock.move(seconds=10)
    assert len(await a_bench.events()) == 2
    assert "lingering" not in await _points(a_bench)


@pytest.mark.parametrize(
    ("gate", "door", "closer"),
    [
        (CameraSettings(place=CameraPlace.STREET), CameraSettings(place=CameraPlace.ENTRANCE), True),
        (CameraSettings(place=CameraPlace.INDOORS), CameraSettings(place=CameraPlace.ENTRANCE), False),
        (CameraSettings(leads_to=(CAMERA,)), CameraSettings(), True),
        (CameraSettings(), CameraSettings(leads_to=("gate",)), False),
        (CameraSettings(), CameraSettings(), False),
    ],
)
async def test_who_was_further_out_just_before_comes_closer(
    a_bench: Bench, gate: CameraSettings, door: CameraSettings, closer: bool
) -> None:
    await _place(a_bench, "gate", gate)
    await _place(a_bench, CAMERA, door)
    await a_bench.see(a_person(), camera="gate")
    a_bench.clock.move(seconds=40)
    await a_bench.see(a_person())
    assert ("came_closer" in await _points(a_bench)) is closer


async def test_a_hand_on_a_camera_weighs_for_a_quarter_of_an_hour(a_bench: Bench) -> None:
    await _place(a_bench, "gate", CameraSettings())
    async with a_bench.database.writing() as connection:
        problem = LastingProblem(ViewProblem.TAMPERED, a_bench.clock.now())
        await views._write_problems(connection, "gate", [problem])
    a_bench.clock.move(seconds=60)
    await a_bench.see(a_person())
    assert "camera_tampered" in await _points(a_bench)
    a_bench.clock.move(seconds=timedelta(minutes=15).total_seconds())
    await a_bench.see(a_person())
    assert "camera_tampered" not in await _points(a_bench)
