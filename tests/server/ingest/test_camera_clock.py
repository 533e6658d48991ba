# SPDX-License-Identifier: AGPL-3.0-or-later
"""Learning how far a camera's clock is off, from when its pictures arrive."""

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server.ingest.camera_clock import NEAR, CameraClock
from tests.support.home import START

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
YEARS = timedelta(days=7300)
UNKNOWN, RIGHT = CameraClock(), CameraClock(2 * SECOND)


def _live(clock: CameraClock, offset: timedelta, seconds: int = 90, seed: int = 1, begin: int = 0) -> CameraClock:
    """Return what is known after a minute and a half of pictures, each of which takes up to 4 s to arrive."""
    random = Random(seed)
    for second in range(begin, begin + seconds, 3):
        taken = START + second * SECOND
        clock = clock.heard(taken - offset, taken + random.uniform(0.2, 4) * SECOND)
    return clock


@settings(deadline=None)
@given(st.integers(-700_000_000, 700_000_000), st.integers(0, 1000))
def test_whatever_a_new_cameras_clock_shows_its_pictures_are_of_now(offset: int, seed: int) -> None:
    clock, random = UNKNOWN, Random(seed)
    for second in range(0, 120, 3):
        taken = START + second * SECOND
        arrived_at = taken + random.uniform(0.2, 4) * SECOND
        shown = taken - offset * SECOND
        clock = clock.heard(shown, arrived_at)
        read = clock.read(shown, arrived_at)
        assert read is None or arrived_at - 150 * SECOND <= read <= arrived_at
        if second >= 30:
            assert read is not None
            assert abs(read - taken) <= NEAR + 4 * SECOND


@pytest.mark.parametrize("before", [UNKNOWN, RIGHT, CameraClock(HOUR), CameraClock(-HOUR), CameraClock(YEARS)])
@pytest.mark.parametrize("offset", [timedelta(0), HOUR, -HOUR, timedelta(days=1), YEARS, -YEARS])
def test_a_clock_that_changed_is_known_again_after_a_minute(before: CameraClock, offset: timedelta) -> None:
    clock = _live(before, offset)
    assert clock.offset is not None
    assert timedelta(0) <= clock.offset - offset <= NEAR


def test_a_clock_that_was_set_right_is_believed_at_once() -> None:
    for wrong in (HOUR, -HOUR, YEARS, -YEARS):
        clock = CameraClock(wrong).heard(START, START + SECOND)
        assert clock.read(START, START + SECOND) == START


@settings(deadline=None)
@given(
    st.integers(200, 20_000),
    st.lists(st.tuples(st.integers(0, 100), st.floats(0.05, 0.7)), min_size=1, max_size=200),
)
def test_a_buffer_that_empties_is_no_wrong_clock(outage: int, kept: list[tuple[int, float]]) -> None:
    clock = RIGHT
    arrived_at = START + outage * SECOND
    taken = START
    for gap, upload in kept:
        taken, arrived_at = min(taken + gap * SECOND, arrived_at), arrived_at + upload * SECOND
        taken += 0.9 * SECOND
        clock = clock.heard(taken, arrived_at)
        if arrived_at - taken > 10 * SECOND:
            assert clock.read(taken, arrived_at) == taken


def test_one_slow_upload_does_not_move_a_clock() -> None:
    clock = RIGHT.heard(START, START + 90 * SECOND)
    assert (clock.offset, clock.read(START, START + 90 * SECOND)) == (2 * SECOND, START)
    assert clock.heard(START + 91 * SECOND, START + 93 * SECOND) == RIGHT


def test_one_absurd_time_does_not_move_a_clock() -> None:
    for absurd in (YEARS, -YEARS):
        clock = RIGHT.heard(START - absurd, START)
        assert clock.offset == RIGHT.offset
        assert clock.read(START - absurd, START) is None
        assert clock.read(START, START + SECOND) == START


def test_a_stamp_that_never_moves_is_never_believed() -> None:
    clock = UNKNOWN
    for second in range(0, 600, 7):
        arrived_at = START + HOUR + second * SECOND
        clock = clock.heard(START, arrived_at)
        assert clock.read(START, arrived_at) is None


def test_a_clock_that_slowly_falls_behind_is_followed() -> None:
    clock = RIGHT
    for day in range(1, 200):
        clock = _live(clock, (2 + day) * SECOND, begin=day * 86_400)
    assert clock.offset is not None
    assert abs(clock.offset - 201 * SECOND) <= 15 * SECOND
