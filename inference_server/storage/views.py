# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on what is remembered of the cameras' views."""

import base64
import binascii
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.view import EDGES, REGIONS, Baseline, LastingProblem, Light, View, ViewState
from inference_server.storage.rows import AnyRow, insert
from inference_server.storage.tables import cameras, view_baselines, views

_STATE = TypeAdapter(ViewState)
_PROBLEMS = TypeAdapter(tuple[LastingProblem, ...])
_SHAPES = (EDGES, EDGES[1:], (REGIONS,), (REGIONS,))
_STORED = np.dtype("<f2")


async def get_many(connection: AsyncConnection, camera_ids: Iterable[str]) -> Mapping[str, View]:
    """Return what is remembered of these cameras' views; of one that was never watched nothing.

    What was not written by this version is not remembered: it is learnt anew.
    """
    ids = list(camera_ids)
    known = dict.fromkeys(ids, View())
    states = await connection.execute(select(views).where(views.c.camera_id.in_(ids)))
    found = {row.camera_id: _state(row) for row in states}
    rows = await connection.execute(select(view_baselines).where(view_baselines.c.camera_id.in_(ids)))
    learnt: dict[str, dict[Light, Baseline]] = {}
    for row in rows:
        if baseline := _baseline(row):
            learnt.setdefault(row.camera_id, {})[Light(row.light)] = baseline
    return {id_: View(found.get(id_, view.state), learnt.get(id_, view.baselines)) for id_, view in known.items()}


async def write(connection: AsyncConnection, camera_id: str, before: View, after: View) -> None:
    """Write what a picture changed of a camera's view."""
    state = insert(connection, views).values(camera_id=camera_id, state=_STATE.dump_python(after.state, mode="json"))
    state = state.on_conflict_do_update(index_elements=["camera_id"], set_={"state": state.excluded.state})
    await connection.execute(state)
    for light, baseline in after.baselines.items():
        if baseline is not before.baselines.get(light):
            await _write_baseline(connection, camera_id, light, baseline)
    if after.state.problems != before.state.problems:
        await _write_problems(connection, camera_id, after.state.problems)


async def forget(connection: AsyncConnection, camera_id: str) -> bool:
    """Forget a camera's view, which is learnt anew. Return whether something counted as wrong with it."""
    await connection.execute(delete(views).where(views.c.camera_id == camera_id))
    await connection.execute(delete(view_baselines).where(view_baselines.c.camera_id == camera_id))
    query = select(cameras.c.view_problems).where(cameras.c.id == camera_id)
    wrong = bool((await connection.execute(query)).scalar())
    await _write_problems(connection, camera_id, ())
    return wrong


async def not_watched(connection: AsyncConnection, camera_ids: Iterable[str]) -> frozenset[str]:
    """Return those of these cameras whose owner does not want their view watched."""
    query = select(cameras.c.id).where(cameras.c.id.in_(list(camera_ids)), cameras.c.watch_view.is_(False))
    return frozenset((await connection.execute(query)).scalars())


async def wrong_views(connection: AsyncConnection) -> Mapping[str, tuple[LastingProblem, ...]]:
    """Return what is wrong with the cameras' views, by camera id."""
    query = select(cameras.c.id, cameras.c.view_problems).where(cameras.c.removed_at.is_(None))
    found = {row.id: problems(row.view_problems) for row in await connection.execute(query)}
    return {camera_id: wrong for camera_id, wrong in found.items() if wrong}


def problems(stored: object) -> tuple[LastingProblem, ...]:
    """Return the problems of a camera's row."""
    return _PROBLEMS.validate_python(stored)


async def _write_problems(connection: AsyncConnection, camera_id: str, found: Sequence[LastingProblem]) -> None:
    stored = _PROBLEMS.dump_python(tuple(found), mode="json")
    await connection.execute(update(cameras).where(cameras.c.id == camera_id).values(view_problems=stored))


async def _write_baseline(connection: AsyncConnection, camera_id: str, light: Light, baseline: Baseline) -> None:
    columns = {"learnt_at": baseline.learnt_at, "pictures": baseline.pictures, "content": _packed(baseline)}
    query = insert(connection, view_baselines).values(camera_id=camera_id, light=light.value, **columns)
    await connection.execute(query.on_conflict_do_update(index_elements=["camera_id", "light"], set_=columns))


def _state(row: AnyRow) -> ViewState:
    try:
        return _STATE.validate_python(row.state)
    except ValidationError:
        return ViewState()


def _packed(baseline: Baseline) -> str:
    parts = (baseline.edges, baseline.black, baseline.energy, baseline.detail)
    return base64.b64encode(b"".join(part.astype(_STORED).tobytes() for part in parts)).decode()


def _baseline(row: AnyRow) -> Baseline | None:
    if row.light not in Light or row.pictures < 1:
        return None
    try:
        numbers = np.frombuffer(base64.b64decode(row.content, validate=True), _STORED).astype(np.float32)
    except (binascii.Error, ValueError):
        return None
    sizes = [math.prod(shape) for shape in _SHAPES]
    if len(numbers) != sum(sizes) or not np.isfinite(numbers).all():
        return None
    edges, black, energy, detail = _divided(numbers)
    return Baseline(edges, black, energy, detail, row.pictures, row.learnt_at)


def _divided(numbers: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    parts, start = [], 0
    for shape in _SHAPES:
        parts.append(numbers[start : start + math.prod(shape)].reshape(shape))
        start += math.prod(shape)
    return parts
