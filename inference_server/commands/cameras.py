# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi cameras`."""

import argparse
import json
from dataclasses import replace
from typing import Any

from inference_server.commands.command import Commands, opened
from inference_server.core.camera import CameraSettings, Mask, checked_name
from inference_server.settings import Settings, known_time_zone
from inference_server.storage import camera_settings, cameras, stationary, zones

HOME = "home"
"""Instead of a time zone: that of the home."""


def register(commands: Commands) -> None:
    """Add the commands."""
    subject = commands.add_parser("cameras", help="cameras: list, show, set").add_subparsers(required=True)
    subject.add_parser("list", help="every camera").set_defaults(command=_list)
    show = subject.add_parser("show", help="the settings of a camera, as JSON")
    show.add_argument("camera")
    show.set_defaults(command=_show)
    change = subject.add_parser("set", help="change the settings of a camera; they count within seconds")
    change.add_argument("camera")
    change.add_argument("--name", type=_checked(checked_name), help="what people see")
    change.add_argument("--time-zone", type=_zone, help=f"of the camera's clock, such as Europe/Berlin, or {HOME}")
    change.add_argument(
        "--ignore", nargs="*", metavar="PATTERN", help="files to leave alone, instead of those so far; none clears them"
    )
    change.add_argument(
        "--mask",
        nargs="*",
        type=_mask,
        metavar="POINTS",
        help="areas nobody may see, instead of those so far: each as 'x,y x,y x,y' from 0,0 (left, top) to 1,1; "
        "none clears them",
    )
    change.add_argument(
        "--watch-view",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="tell when the view is blocked, moved, too dark, blurred or frozen; not for a camera that turns",
    )
    change.set_defaults(command=_set)


def _checked(check: Any) -> Any:
    def convert(text: str) -> Any:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _zone(text: str) -> str:
    return text if text == HOME else str(_checked(known_time_zone)(text))


@_checked
def _mask(text: str) -> Mask:
    points = []
    for point in text.split():
        x, comma, y = point.partition(",")
        if not comma:
            raise ValueError(f"a point is x,y and not {point[:40]!r}")
        points.append((float(x), float(y)))
    return Mask(tuple(points))


async def _list(_options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.reading() as connection:
        states = await cameras.states(connection, judged=False)
        offsets = await cameras.clock_offsets(connection)
    for state in states:
        seen = state.camera.last_frame_at
        newest = f"last picture {seen:%Y-%m-%d %H:%M}" if seen else "no picture yet"
        clock = f"clock {-offsets[state.camera.id]:+.0f} s" if state.camera.id in offsets else ""
        print(f"{state.camera.id:24} {newest:30} {clock:20} {state.camera.name}".rstrip())
    return 0


async def _show(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.reading() as connection:
        known = (await cameras.get_many(connection, [options.camera])).get(options.camera)
        if known is None:
            return _unknown(options.camera)
        own = await camera_settings.get(connection, options.camera)
        known_zones = await zones.of_camera(connection, options.camera)
        still = await stationary.stationary(connection, options.camera)
    shown = {
        "name": known.camera.name,
        "time_zone": own.time_zone,
        "ignore_patterns": own.ignore_patterns,
        "masks": [mask.points for mask in own.masks],
        "watch_view": own.watch_view,
        "zones": [
            {
                "id": zone.id,
                "name": zone.shape.name,
                "type": zone.shape.type,
                "enabled": zone.shape.enabled,
                "points": zone.shape.points,
            }
            for zone in known_zones
        ],
        "stationary": [f"{item.label} since {item.first_seen_at:%Y-%m-%d %H:%M} UTC" for item in still],
    }
    print(json.dumps(shown, indent=2, ensure_ascii=False))
    return 0


async def _set(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.writing() as connection:
        await cameras.lock(connection, [options.camera])
        if options.camera not in await cameras.get_many(connection, [options.camera]):
            return _unknown(options.camera)
        try:
            changed = _changed(await camera_settings.get(connection, options.camera), options)
        except ValueError as error:
            print(f"{error}.")
            return 1
        await camera_settings.change(connection, options.camera, changed)
        if options.name is not None:
            await cameras.rename(connection, options.camera, options.name)
    print(f"The settings of {options.camera} are stored; a running server goes by them within seconds.")
    return 0


def _changed(before: CameraSettings, options: argparse.Namespace) -> CameraSettings:
    changes: dict[str, Any] = {}
    if options.time_zone is not None:
        changes["time_zone"] = None if options.time_zone == HOME else options.time_zone
    if options.ignore is not None:
        changes["ignore_patterns"] = tuple(options.ignore)
    if options.mask is not None:
        changes["masks"] = tuple(options.mask)
    if options.watch_view is not None:
        changes["watch_view"] = options.watch_view
    return replace(before, **changes)


def _unknown(camera: str) -> int:
    print(f'There is no camera "{camera}": see hsi cameras list.')
    return 1
