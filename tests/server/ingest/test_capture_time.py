# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a picture was taken, as EXIF, names of every vendor, files and arrivals tell it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inference_server.core.frame import TimeSource
from inference_server.ingest.camera_clock import CameraClock
from inference_server.ingest.capture_time import Claim, claims, imported, live

BERLIN, LONDON, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/London"), ZoneInfo("America/New_York")
TAKEN = datetime(2026, 11, 23, 14, 45, 1, tzinfo=UTC)
"""15:45:01 in Berlin."""
RIGHT = CameraClock(timedelta(seconds=2))
ANY_TIME = st.integers(946_771_200, 4_102_358_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
"""Whole seconds of the years 2000 to 2099."""


def _after(**by: float) -> datetime:
    return TAKEN + timedelta(**by)


def _exif(taken: str | bytes, zone: str | None = None, fraction: str | None = None) -> bytes:
    exif = Image.Exif()
    tags = {0x9003: taken, 0x9011: zone, 0x9291: fraction}
    exif.get_ifd(0x8769).update({tag: value for tag, value in tags.items() if value is not None})
    return exif.tobytes()


def _claims(name: str = "1.jpg", exif: bytes = b"", zone: ZoneInfo = BERLIN, near: datetime = TAKEN) -> list[Claim]:
    return claims(exif, name, zone, near)


@pytest.mark.parametrize(
    ("name", "milliseconds"),
    [
        ("Schedule_20261123-154501.jpg", 0),
        ("snap/MDAlarm_20261123-154501.jpg", 0),
        ("FI9900P_00626E6A4B2C/record/MDalarm_20261123_154501.mkv", 0),
        ("Camera_00_20261123154501.jpg", 0),
        ("2026/11/23/Front Door_00_20261123154501.jpg", 0),
        ("2026/11/23/RLC-810A_01_20261123154501_ab12.mp4", 0),
        ("AMC0001/2026-11-23/001/jpg/15/45/01[M][0@0][0].jpg", 0),
        ("2026-11-23/001/jpg/15/45/01[R][0@0][0].jpg", 0),
        ("2026-11-23/001/jpg/15/45.01[M][0@0][0].jpg", None),
        ("2026-11-23/001/dav/15/15.45.01-15.45.10[M][0@0][0].mp4", 0),
        ("2026-11-23/pic_001/15.45.01[M][0@0][0].jpg", 0),
        ("192.168.1.64_01_20261123154501123_MOTION_DETECTION.jpg", 123),
        ("192.168.1.64_01_20261123154501123_TIMING.jpg", 123),
        ("image_2026-11-23_15-45-01_123.jpg", 123),
        ("20261123/15/20261123_154501_ACCC8E.jpg", 0),
        ("20261123_154501_12AB.jpg", 0),
        ("2026-11-23T15:45:01.jpg", 0),
        ("2026-11-23T15:45:01.25.jpg", 250),
        ("2026-11-23 15.45.01.jpg", 0),
        ("2026-11-23T14:45:01Z.jpg", 0),
        ("20261123T144501Z.jpg", 0),
        ("2026-11-23T09:45:01.123456-05:00.jpg", 123.456),
        ("20261123T154501+0100.jpg", 0),
        ("20261123-154501-1234.jpg", 0),
        ("2026_11_23_15_45_01.jpg", 0),
        ("2026.11.23-15.45.01.jpg", 0),
        ("2026-11-23/15-45-01.jpg", 0),
        ("2026/11/23/15-45-01-front.jpg", 0),
        ("1795445101.jpg", 0),
        ("front-1795445101123.jpg", 123),
        ("20251123154501/20261123154501.jpg", 0),
        ("old_20251123154501_20261123154501.jpg", 0),
        ("\u524d\u9580/\u202e_20261123154501_\u00fc.jpg", 0),
        ("1.jpg", None),
        ("img_154501.jpg", None),
        ("2026-11-23/0001.jpg", None),
        ("120261123154501.jpg", None),
        ("202611231545.jpg", None),
        ("20261323154501.jpg", None),
        ("20261123254501.jpg", None),
        ("19700101-000012.jpg", None),
        ("20001301000000.jpg", None),
        ("0000-00-00_00-00-00.jpg", None),
        ("21260101000000.jpg", None),
        ("9999999999.jpg", None),
        ("ab1795445101.jpg", None),
        ("", None),
    ],
)
def test_names_of_many_vendors(name: str, milliseconds: float | None) -> None:
    expected = [] if milliseconds is None else [Claim(_after(milliseconds=milliseconds), TimeSource.FILE_NAME)]
    assert _claims(name) == expected


@settings(deadline=None)
@given(st.text(max_size=300), ANY_TIME)
def test_any_name_is_read_or_not_but_never_raises(name: str, near: datetime) -> None:
    for claim in _claims(name, near=near):
        assert 1999 <= claim.time.year <= 2100


@settings(deadline=None)
@given(
    ANY_TIME,
    st.sampled_from([BERLIN, LONDON, NEW_YORK, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")]),
    st.sampled_from(["Schedule_%Y%m%d-%H%M%S.jpg", "Camera_00_%Y%m%d%H%M%S.jpg", "%Y-%m-%d/001/jpg/%H/%M/%S[M].jpg"]),
)
def test_a_name_is_read_in_the_cameras_zone_also_while_clocks_change(
    taken: datetime, zone: ZoneInfo, pattern: str
) -> None:
    name = taken.astimezone(zone).strftime(pattern)
    assert _claims(name, zone=zone, near=taken + timedelta(seconds=3)) == [Claim(taken, TimeSource.FILE_NAME)]


def test_the_hour_that_comes_twice_is_the_one_near_the_arrival() -> None:
    first, second = (datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1))
    assert [claim.time for claim in _claims("20261025-023000.jpg", near=first)] == [first]
    assert [claim.time for claim in _claims("20261025-023000.jpg", near=second)] == [second]


def test_the_hour_that_never_is_is_read_too() -> None:
    near = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert [claim.time for claim in _claims("20260329-023000.jpg", near=near)] == [near]


def test_exif_comes_first_and_has_its_own_zone() -> None:
    name = "Schedule_20261123-154501.jpg"
    exif, of_name = Claim(_after(seconds=1), TimeSource.EXIF), Claim(TAKEN, TimeSource.FILE_NAME)
    assert _claims(name, _exif("2026:11:23 15:45:02")) == [exif, of_name]
    assert _claims(name, _exif("2026:11:23 09:45:02", "-05:00")) == [exif, of_name]
    assert _claims(exif=_exif("2026:11:23 15:45:01", fraction="5")) == [Claim(_after(seconds=0.5), TimeSource.EXIF)]


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"no exif at all",
        _exif("0000:00:00 00:00:00"),
        _exif("    :  :     :  :  "),
        _exif("1970:01:01 00:00:00"),
        _exif("2026:13:45 99:99:99"),
        _exif(b"\xff\xfe\0" * 7),
        _exif("2026:11:23 15:45:01")[:30],
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x87\x69\0\x04\0\0\0\x01\0\0\0\x08" * 5000,
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_exif_that_tells_no_time(exif: bytes) -> None:
    assert _claims(exif=exif) == []


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(deadline=None)
@given(st.data())
def test_damaged_exif_never_raises(data: st.DataObject) -> None:
    exif = bytearray(_exif("2026:11:23 15:45:01", "+01:00", "123"))
    for _ in range(data.draw(st.integers(1, 8))):
        exif[data.draw(st.integers(0, len(exif) - 1))] = data.draw(st.integers(0, 255))
    for claim in _claims(exif=bytes(exif)):
        assert 1999 <= claim.time.year <= 2100


@pytest.mark.timeout(20)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_exif_bomb_costs_little() -> None:
    entry = b"".join(number.to_bytes(2) + b"\0\x07\0\0\xf0\0\0\0\0\x0a" for number in range(65_535))
    assert _claims(exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + entry + bytes(10_000_000)) == []


NAMED = [Claim(TAKEN, TimeSource.FILE_NAME)]
BOTH = [Claim(_after(hours=-1), TimeSource.EXIF), Claim(TAKEN, TimeSource.FILE_NAME)]


@pytest.mark.parametrize(
    ("claimed", "modified", "arrived", "clock", "expected"),
    [
        (NAMED, None, _after(seconds=3), CameraClock(), (TAKEN, TimeSource.FILE_NAME)),
        (NAMED, None, _after(seconds=-3), CameraClock(), (_after(seconds=-3), TimeSource.FILE_NAME)),
        (NAMED, None, _after(seconds=100), CameraClock(), (_after(seconds=100), TimeSource.FILE_NAME)),
        (NAMED, None, _after(seconds=100), RIGHT, (TAKEN, TimeSource.FILE_NAME)),
        (NAMED, None, _after(hours=1), CameraClock(), (_after(hours=1), TimeSource.ARRIVAL)),
        (
            NAMED,
            _after(hours=1, seconds=-2),
            _after(hours=1),
            CameraClock(),
            (_after(seconds=3598), TimeSource.MODIFIED),
        ),
        (NAMED, TAKEN, _after(hours=1), CameraClock(), (_after(hours=1), TimeSource.ARRIVAL)),
        (NAMED, None, _after(hours=1), RIGHT, (TAKEN, TimeSource.FILE_NAME)),
        (NAMED, None, _after(days=29), RIGHT, (TAKEN, TimeSource.FILE_NAME)),
        (NAMED, None, _after(days=31), RIGHT, (_after(days=31), TimeSource.ARRIVAL)),
        (NAMED, None, _after(hours=-1), RIGHT, (_after(hours=-1), TimeSource.ARRIVAL)),
        (NAMED, None, _after(hours=1), CameraClock(timedelta(hours=1)), (_after(hours=1), TimeSource.FILE_NAME)),
        (NAMED, None, _after(hours=-1), CameraClock(timedelta(hours=-1)), (_after(hours=-1), TimeSource.FILE_NAME)),
        (BOTH, None, _after(seconds=2), CameraClock(), (TAKEN, TimeSource.FILE_NAME)),
        ([], _after(days=-3), TAKEN, CameraClock(), (_after(days=-3), TimeSource.MODIFIED)),
        ([], _after(days=-31), TAKEN, CameraClock(), (TAKEN, TimeSource.ARRIVAL)),
        ([], _after(hours=1), TAKEN, CameraClock(), (TAKEN, TimeSource.ARRIVAL)),
        ([], None, TAKEN, CameraClock(), (TAKEN, TimeSource.ARRIVAL)),
    ],
)
def test_a_live_picture(
    claimed: list[Claim],
    modified: datetime | None,
    arrived: datetime,
    clock: CameraClock,
    expected: tuple[datetime, TimeSource],
) -> None:
    captured = live(claimed, modified, arrived, clock)
    assert (captured.at, captured.source) == expected


@pytest.mark.parametrize(
    ("claimed", "modified", "expected"),
    [
        (NAMED, _after(days=-300), (TAKEN, TimeSource.FILE_NAME)),
        ([Claim(_after(days=2000), TimeSource.EXIF), *NAMED], None, (TAKEN, TimeSource.FILE_NAME)),
        ([Claim(_after(days=2000), TimeSource.EXIF)], _after(days=-300), (_after(days=-300), TimeSource.MODIFIED)),
        ([], datetime(1970, 1, 1, tzinfo=UTC), (_after(days=900), TimeSource.ARRIVAL)),
        ([], None, (_after(days=900), TimeSource.ARRIVAL)),
    ],
)
def test_an_old_picture(claimed: list[Claim], modified: datetime | None, expected: tuple[datetime, TimeSource]) -> None:
    captured = imported(claimed, modified, _after(days=900))
    assert (captured.at, captured.source) == expected
