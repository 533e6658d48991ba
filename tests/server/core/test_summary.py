# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hours and days of the home's clock, also where it is put forward and back."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.summary import SummaryKind, day_of, hour_start, periods_before

BERLIN, KOLKATA, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), ZoneInfo("Australia/Lord_Howe")
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 11, 24), 24)]
)
def test_a_day_has_as_many_hours_as_the_clock_says(day: date, hours: int) -> None:
    period = day_of(day, BERLIN)
    assert period.ended_at - period.started_at == timedelta(hours=hours)
    assert period.started_at.astimezone(BERLIN).isoformat()[:16] == f"{day}T00:00"


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    now = datetime(2026, 10, 25, 2, 10, tzinfo=UTC)  # 3:10, after both
    hours = [p for p in periods_before(now, BERLIN, hours=3, days=0) if p.kind is SummaryKind.HOURLY]
    assert [f"{p.started_at.astimezone(BERLIN):%H:%M %Z}" for p in hours] == ["01:00 CEST", "02:00 CEST", "02:00 CET"]


def test_hours_begin_where_the_clock_on_the_wall_says() -> None:
    begin = hour_start(datetime(2026, 11, 24, 8, 10, tzinfo=UTC), KOLKATA)
    assert f"{begin.astimezone(KOLKATA):%H:%M}" == "13:00"


@given(TIMES, st.sampled_from([BERLIN, KOLKATA, LORD_HOWE, ZoneInfo("UTC")]))
def test_periods_follow_each_other_and_are_over(now: datetime, zone: ZoneInfo) -> None:
    periods = periods_before(now, zone, hours=24, days=2)
    hours = [period for period in periods if period.kind is SummaryKind.HOURLY]
    days = [period for period in periods if period.kind is SummaryKind.DAILY]
    for items in (hours, days):
        assert [one.ended_at for one in items[:-1]] == [one.started_at for one in items[1:]]
        assert all(one.started_at < one.ended_at for one in items)
        assert items[-1].ended_at <= now < items[-1].ended_at + timedelta(hours=26)
    assert (len(hours), len(days)) == (24, 2)
