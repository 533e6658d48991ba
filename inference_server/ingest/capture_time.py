# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a picture was taken: by its EXIF, its name, its file, or else its arrival. Pure; nothing in here raises."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from PIL import Image

from inference_server.core.frame import TimeSource
from inference_server.ingest.camera_clock import LONGEST_BUFFER, NEAR, SLOW_UPLOAD, CameraClock
from inference_server.ingest.picture import MAX_EXIF_BYTES

FIRST_YEAR, LAST_YEAR = 2000, 2099
"""A clock that shows another year was never set."""
MAX_NAME = 1024
"""Characters at the end of a path that are searched."""

_STAMP = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<dash>[-_.]?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
    r"[-_T .]{0,3}(?P<hour>\d\d)(?P<colon>[-_.:]?)(?P<minute>\d\d)(?P=colon)(?P<second>\d\d)"
    r"(?:(?:[.,](?P<decimals>\d{1,6})|[-_]?(?P<milliseconds>\d{3}))(?!\d))?"
    r"(?P<zone>Z(?![A-Za-z])|\+\d\d:?\d\d(?!\d)|-\d\d:\d\d(?!\d))?(?!\d)"
)
"""Foscam, Reolink, Hikvision, Axis, ISO 8601: 20261123-154501, 20261123154501123, 2026-11-23T15:45:01+01:00."""
_FOLDERS = re.compile(
    r"(?:^|/)(?P<year>(?:19|20)\d\d)[-_/]?(?P<month>\d\d)[-_/]?(?P<day>\d\d)/(?:[^/]+/){0,4}?"
    r"(?P<hour>\d\d)(?P<colon>[-_.:/])(?P<minute>\d\d)(?P=colon)(?P<second>\d\d)(?!\d)[^/]*$"
)
"""Dahua, Amcrest: 2026-11-23/001/jpg/15/45/01[M][0@0][0].jpg, 2026-11-23/001/dav/15/15.45.01-15.45.10[M].mp4."""
_PARTS = ("year", "month", "day", "hour", "minute", "second")
_EPOCH = re.compile(r"(?<![0-9A-Za-z.])(\d{10})(\d{3})?(?![0-9A-Za-z])")
_EXIF_TIME = re.compile(r"(\d{4})\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)")
_EXIF_ZONE = re.compile(r"Z|[+-]\d\d:\d\d")
_EXIF_FOLDER, _TAKEN, _TAKEN_ZONE, _TAKEN_FRACTION = 0x8769, 0x9003, 0x9011, 0x9291


@dataclass(frozen=True, slots=True)
class Claim:
    """When the camera says that it took the picture, in UTC, by its own clock."""

    time: datetime
    source: TimeSource


@dataclass(frozen=True, slots=True)
class Captured:
    """When a picture was taken, who says so, and what is known of the camera's clock now."""

    at: datetime
    source: TimeSource
    clock: CameraClock


def claims(exif: bytes, name: str, zone: ZoneInfo, arrived_at: datetime) -> list[Claim]:
    """Return what a camera says of a picture, the best source first.

    `exif` is the raw block, `name` the path below the camera's folder. Wall clock times are of the camera's `zone`;
    of the two that an hour has which the change from summer time repeats, the one nearer to the arrival counts.
    """
    found = (
        (TimeSource.EXIF, _of_exif(exif, zone, arrived_at)),
        (TimeSource.FILE_NAME, _of_name(name, zone, arrived_at)),
    )
    return [Claim(time, source) for source, time in found if time is not None]


def live(claimed: Sequence[Claim], modified_at: datetime | None, arrived_at: datetime, clock: CameraClock) -> Captured:
    """Return when a picture was taken that has just arrived, by a camera whose clock may be wrong."""
    if claimed:
        best = next((claim for claim in claimed if abs(arrived_at - claim.time) <= SLOW_UPLOAD), claimed[0])
        clock = clock.heard(best.time, arrived_at)
        for claim in (best, *claimed):
            if (at := clock.read(claim.time, arrived_at)) is not None:
                return Captured(at, claim.source, clock)
    # a file that was given its time by a wrong clock too is no better witness
    return _of_file(modified_at, arrived_at, SLOW_UPLOAD if claimed else LONGEST_BUFFER, clock)


def imported(claimed: Sequence[Claim], modified_at: datetime | None, arrived_at: datetime) -> Captured:
    """Return when an old picture was taken."""
    for claim in claimed:
        if claim.time <= arrived_at + NEAR:
            return Captured(min(claim.time, arrived_at), claim.source, CameraClock())
    return _of_file(modified_at, arrived_at, timedelta.max, CameraClock())


def _of_file(modified_at: datetime | None, arrived_at: datetime, oldest: timedelta, clock: CameraClock) -> Captured:
    if modified_at and modified_at.year >= FIRST_YEAR and -NEAR <= arrived_at - modified_at <= oldest:
        return Captured(min(modified_at, arrived_at), TimeSource.MODIFIED, clock)
    return Captured(arrived_at, TimeSource.ARRIVAL, clock)


def _of_exif(exif: bytes, zone: ZoneInfo, near: datetime) -> datetime | None:
    if not exif:
        return None
    block = Image.Exif()
    try:
        block.load(exif[:MAX_EXIF_BYTES])
        tags = block.get_ifd(_EXIF_FOLDER)
    except Exception:  # noqa: BLE001 - Pillow's parser raises many kinds for hostile bytes
        return None
    taken = _EXIF_TIME.match(_text(tags.get(_TAKEN)))
    if taken is None:
        return None
    own_zone = _EXIF_ZONE.match(_text(tags.get(_TAKEN_ZONE)))
    fraction = re.match(r"\d{1,6}", _text(tags.get(_TAKEN_FRACTION)))
    return _time(taken.groups(), fraction and fraction[0], own_zone and own_zone[0], zone, near)


def _text(value: object) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _of_name(name: str, zone: ZoneInfo, near: datetime) -> datetime | None:
    """Return the time in a path: the last one of the file's own name, else one that begins in its folders."""
    path = name[-MAX_NAME:]
    file = path.rpartition("/")[2]
    for times in (_stamps(file, zone, near), _in_folders(path, zone, near), _epochs(file)):
        if (last := max(times, default=None, key=lambda found: found[0])) is not None:
            return last[1]
    return None


def _stamps(text: str, zone: ZoneInfo, near: datetime) -> Iterator[tuple[int, datetime]]:
    for found in _STAMP.finditer(text):
        fraction = found["decimals"] or found["milliseconds"]
        if (time := _time(found.group(*_PARTS), fraction, found["zone"], zone, near)) is not None:
            yield found.start(), time


def _in_folders(path: str, zone: ZoneInfo, near: datetime) -> Iterator[tuple[int, datetime]]:
    found = _FOLDERS.search(path)
    if found and (time := _time(found.group(*_PARTS), None, None, zone, near)) is not None:
        yield found.start(), time


def _epochs(text: str) -> Iterator[tuple[int, datetime]]:
    for found in _EPOCH.finditer(text):
        time = datetime.fromtimestamp(int(found[1]), UTC) + timedelta(milliseconds=int(found[2] or 0))
        if FIRST_YEAR <= time.year <= LAST_YEAR:
            yield found.start(), time


def _time(
    parts: Sequence[str], fraction: str | None, own_zone: str | None, zone: ZoneInfo, near: datetime
) -> datetime | None:
    """Return a wall clock's time, in UTC; None for one that no clock shows, or that an unset clock shows."""
    year, month, day, hour, minute, second = map(int, parts)
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    try:
        wall = datetime(year, month, day, hour, minute, second, int(f"{fraction or 0:0<6}"))  # noqa: DTZ001 - a wall clock
        if own_zone:
            return wall.replace(tzinfo=_own_zone(own_zone)).astimezone(UTC)
    except ValueError:
        return None
    readings = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return min(readings, key=lambda reading: abs(near - reading))


def _own_zone(text: str) -> timezone:
    if text == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    return timezone((1 if text[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes))
