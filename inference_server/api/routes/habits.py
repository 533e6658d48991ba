# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a camera usually sees."""

from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, camera_not_found
from inference_server.api.routes.cameras import OneCamera
from inference_server.api.routing import AnyRoute, Route
from inference_server.api.schema import WireObject
from inference_server.core.baseline import SLOTS
from inference_server.core.detection import Category
from inference_server.risk.baseline import by_category, rate_of
from inference_server.storage import baselines, cameras
from inference_server.storage.tokens import Scope


class HabitObject(WireObject):
    """What is expected of one kind of object in each hour of the week, Monday from 0 o'clock first."""

    category: Category
    expected: tuple[float | None, ...]
    """Distinct objects in the hour; null while too little is known."""
    weeks: tuple[float, ...]
    """How many such hours that rests on, older ones counting for less."""


class HabitList(WireObject):
    """A camera's habits by kind of object."""

    items: tuple[HabitObject, ...]


async def get(context: ApiContext, asked: OneCamera) -> HabitList:
    """Return what a camera usually sees."""
    now = context.clock.now()
    async with context.database.reading() as connection:
        if await cameras.state(connection, asked.camera_id, judged=False) is None:
            raise camera_not_found(asked.camera_id)
        habits = by_category(await baselines.of_camera(connection, asked.camera_id))
    items = []
    for category, known in habits.items():
        rates = [rate_of(known, slot, now) for slot in range(SLOTS)]
        items.append(
            HabitObject(
                category=category,
                expected=tuple(round(rate.expected, 3) if rate else None for rate in rates),
                weeks=tuple(round(known[slot].hours, 2) if slot in known else 0.0 for slot in range(SLOTS)),
            )
        )
    return HabitList(items=tuple(items))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/cameras/{camera_id}/habits",
        summary="What a camera usually sees, by hour of the week",
        scope=Scope.READ,
        parameters=OneCamera,
        answer=HabitList,
        handler=get,
        problems=(ProblemCode.CAMERA_NOT_FOUND,),
    ),
)
