# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a daily backup is due."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from inference_server.core.backup import latest_turn

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "turn"),
    [
        ("2026-11-23T02:00", "2026-11-23T02:00"),  # three o'clock in winter
        ("2026-11-23T01:59", "2026-11-22T02:00"),
        ("2026-11-23T23:30", "2026-11-23T02:00"),  # the next day has begun at home, but not come so far
        ("2026-07-01T01:00", "2026-07-01T01:00"),  # three o'clock in summer
        ("2026-03-29T12:00", "2026-03-29T01:00"),  # the clock was put forward at two
        ("2026-10-25T12:00", "2026-10-25T02:00"),  # and back at three
    ],
)
def test_the_turn_is_at_the_hour_of_the_home(now: str, turn: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert latest_turn(at, 3, BERLIN) == datetime.fromisoformat(turn).replace(tzinfo=UTC)


def test_an_hour_that_does_not_exist_or_comes_twice_has_one_turn() -> None:
    forward = datetime(2026, 3, 29, 12, tzinfo=UTC)
    assert latest_turn(forward, 2, BERLIN) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    back = datetime(2026, 10, 25, 12, tzinfo=UTC)
    assert latest_turn(back, 2, BERLIN) == datetime(2026, 10, 25, 0, tzinfo=UTC)
