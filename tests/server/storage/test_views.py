# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is remembered of a camera's view."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import update

from inference_server.core.camera import CameraSettings, Mask
from inference_server.core.view import (
    EDGES,
    REGIONS,
    Baseline,
    LastingProblem,
    Light,
    Run,
    View,
    ViewProblem,
    ViewState,
)
from inference_server.storage import camera_settings, cameras, tables, views
from tests.support.home import Home

AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
MASKS = (Mask(((0, 0), (0.5, 0), (0.25, 1))),)
RUN = Run(AT, 9, (ViewProblem.BLOCKED, ViewProblem.MOVED, ViewProblem.BLOCKED), sudden=True, counts=True)
STATE = ViewState(AT, AT - timedelta(seconds=10), view=RUN, prints=(2**32 - 1, -1, 0))
PROBLEMS = (LastingProblem(ViewProblem.BLOCKED, AT), LastingProblem(ViewProblem.TAMPERED, AT))


def baseline(pictures: int = 7) -> Baseline:
    random = np.random.default_rng(pictures)
    shapes = (EDGES, EDGES[1:], (REGIONS,), (REGIONS,))
    edges, black, energy, detail = (random.random(shape, np.float32) for shape in shapes)
    return Baseline(edges, black, energy, detail, pictures, AT)


async def test_a_view_is_remembered(a_home: Home) -> None:
    await a_home.camera()
    await a_home.camera("garden")
    first = View(STATE, {Light.DAY: baseline(), Light.DIM: baseline(3)})
    async with a_home.database.writing() as connection:
        await views.write(connection, "front_door", View(), first)
        second = View(replace(STATE, prints=(1,)), {**first.baselines, Light.DIM: baseline(4)})
        await views.write(connection, "front_door", first, second)
    async with a_home.database.reading() as connection:
        known = await views.get_many(connection, ["front_door", "garden", "gone"])
        state = await cameras.state(connection, "front_door", judged=True)
        assert await views.wrong_views(connection) == {"front_door": PROBLEMS}
    assert known["garden"].state == known["gone"].state == ViewState()
    assert known["front_door"].state == second.state
    assert {light: kept.pictures for light, kept in known["front_door"].baselines.items()} == {"day": 7, "dim": 4}
    for name in ("edges", "black", "energy", "detail"):
        kept, given = (getattr(view.baselines[Light.DIM], name) for view in (known["front_door"], second))
        np.testing.assert_allclose(kept, given, atol=1e-3)
    assert state is not None
    assert state.view_problems == PROBLEMS


@pytest.mark.parametrize(
    ("changed", "ends"),
    [
        (CameraSettings(time_zone="UTC"), False),
        (CameraSettings(masks=MASKS), True),
        (CameraSettings(watch_view=False), True),
    ],
)
async def test_other_masks_make_another_view(a_home: Home, changed: CameraSettings, ends: bool) -> None:
    await a_home.camera()
    async with a_home.database.writing() as connection:
        await views.write(connection, "front_door", View(), View(STATE, {Light.DAY: baseline()}))
        assert await camera_settings.change(connection, "front_door", changed) is ends
        assert await camera_settings.change(connection, "front_door", changed) is False
        assert bool((await views.get_many(connection, ["front_door"]))["front_door"].baselines) is not ends
        assert bool(await views.wrong_views(connection)) is not ends
        assert await views.not_watched(connection, ["front_door"]) == (set() if changed.watch_view else {"front_door"})


@pytest.mark.parametrize("content", ["", "*", "AAAA", base64.b64encode(b"\x00\x7e" * (3 * 36 * 64 + 24)).decode()])
async def test_what_cannot_be_read_is_learnt_anew(a_home: Home, content: str) -> None:
    await a_home.camera()
    async with a_home.database.writing() as connection:
        await views.write(connection, "front_door", View(), View(STATE, {Light.DAY: baseline()}))
        await connection.execute(update(tables.view_baselines).values(content=content))
        await connection.execute(update(tables.views).values(state={"last_at": "never"}))
        known = (await views.get_many(connection, ["front_door"]))["front_door"]
    assert known.state == ViewState()
    assert not known.baselines
