# SPDX-License-Identifier: AGPL-3.0-or-later
"""The baseline: it finds the true rate, tells the days of the week apart, and one burst makes no habit."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server.core.baseline import HOUR, Habit, hour_of, slot_of
from inference_server.core.detection import Category
from inference_server.risk.baseline import ENOUGH_HOURS, Rate, aged, expectation, learn, rate_of

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def _week_by_week(weeks: int, *seen: tuple[int, list[float]]) -> dict[int, Habit]:
    """Return the habits after so many weeks, of which each slot saw these numbers in turn."""
    habits: dict[int, Habit] = {}
    for week in range(weeks):
        for slot, numbers in seen:
            end = MONDAY + timedelta(weeks=week, hours=slot + 1)
            counted = Habit("gate", Category.PERSON, slot, numbers[week % len(numbers)], 1.0, end)
            habits[slot] = learn(habits, counted)
    return habits


def _after(weeks: int) -> datetime:
    return MONDAY + timedelta(weeks=weeks)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.02, 40), st.integers(0, 2**32 - 1))
def test_it_converges_to_the_true_rate(true: float, seed: int) -> None:
    counted = np.random.default_rng(seed).poisson(true, 60).astype(float).tolist()
    found = rate_of(_week_by_week(60, (30, counted)), 30, _after(60))
    assert found is not None
    # The last four weeks weigh as much as all before: about six hours' worth, whose deviation is that of their mean.
    assert abs(found.expected - true) < 5 * np.sqrt(true / 6) + 0.3


@given(st.floats(0.5, 20), st.floats(0.5, 20))
def test_days_of_the_week_are_told_apart(monday: float, sunday: float) -> None:
    habits = _week_by_week(30, (18, [monday]), (18 + 6 * 24, [sunday]))
    on_monday, on_sunday = rate_of(habits, 18, _after(30)), rate_of(habits, 18 + 6 * 24, _after(30))
    assert on_monday
    assert on_sunday
    assert on_monday.expected == pytest.approx(monday, rel=0.35, abs=abs(monday - sunday) * 0.2)
    assert on_sunday.expected == pytest.approx(sunday, rel=0.35, abs=abs(monday - sunday) * 0.2)


@given(st.integers(20, 5000))
def test_one_burst_makes_no_habit(burst: int) -> None:
    quiet = _week_by_week(12, (20, [1.0]))
    before = rate_of(quiet, 20, _after(12))
    party = Habit("gate", Category.PERSON, 20, float(burst), 1.0, _after(12) + 21 * HOUR)
    after = rate_of({20: learn(quiet, party)}, 20, _after(13))
    assert before
    assert after
    assert after.expected < before.expected + 1


def test_weeks_of_bursts_do() -> None:
    habits = _week_by_week(12, (20, [1.0]))
    for week in range(12, 24):
        end = _after(week) + 21 * HOUR
        habits[20] = learn(habits, Habit("gate", Category.PERSON, 20, 30.0, 1.0, end))
    found = rate_of(habits, 20, _after(24))
    assert found
    assert found.expected > 20


def test_a_cold_start_is_honest_and_leans_on_the_other_days() -> None:
    assert rate_of({}, 20, MONDAY) is None
    one = _week_by_week(1, (20, [2.0]))
    assert rate_of(one, 20, _after(1)) is None
    assert expectation(one, 20, _after(1), Category.PERSON, 3) is None
    two_days = _week_by_week(1, (20, [2.0]), (44, [2.0]))
    lent = rate_of(two_days, 68, MONDAY + timedelta(days=3))
    assert lent
    assert lent.expected == pytest.approx(2.0)
    assert lent.hours - 1 < ENOUGH_HOURS  # of its own it has none: what it says is wide
    assert lent.chance(4) > 0.1


def test_what_is_old_is_forgotten_by_halves() -> None:
    habit = Habit("gate", Category.PERSON, 20, 8.0, 4.0, MONDAY)
    assert aged(habit, MONDAY + timedelta(weeks=4)) == Habit("gate", Category.PERSON, 20, 4.0, 2.0, MONDAY)
    assert aged(habit, MONDAY - timedelta(weeks=4)) == habit  # a clock that was put back ages nothing


@given(st.floats(0.001, 3000), st.floats(0.5, 10), st.integers(0, 3000))
def test_chances_fall_and_are_chances(shape: float, hours: float, number: int) -> None:
    rate = Rate(shape, hours)
    assert rate.chance(0) == 1.0
    assert 1.0 >= rate.chance(number) >= rate.chance(number + 1) >= 0.0


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
def test_every_hour_of_a_day_of_the_change_of_time_is_counted_once(day: datetime) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    hours = [day + n * HOUR for n in range(-2, 26)]
    assert [hour_of((at + timedelta(minutes=1)).astimezone(berlin)) for at in hours] == hours
    slots = [slot_of(at.astimezone(berlin)) for at in hours if at.astimezone(berlin).date() == day.date()]
    assert len(slots) in {23, 25}
    assert {slot % 24 for slot in slots} == set(range(24)) - ({2} if len(slots) == 23 else set())


def test_half_hour_zones_learn_and_look_up_the_same_slot() -> None:
    kolkata = ZoneInfo("Asia/Kolkata")
    early, late = (datetime(2026, 1, 5, 10, minute, tzinfo=UTC) for minute in (5, 55))
    assert slot_of(hour_of(early).astimezone(kolkata)) == slot_of(hour_of(late).astimezone(kolkata))
