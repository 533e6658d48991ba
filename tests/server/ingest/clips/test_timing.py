# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a clip says of its times."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.frame import TimeSource
from inference_server.ingest.camera_clock import NEAR, CameraClock
from inference_server.ingest.capture_time import Claim
from inference_server.ingest.clips.timing import ended, ends

ARRIVED = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
HALF_A_MINUTE = timedelta(seconds=30)
SEVEN = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)


@pytest.mark.parametrize("created", ["2026-11-23T07:00:00.000000Z", "2026-11-23 07:00:00", "2026-11-23T09:00:00+02:00"])
def test_the_container_tells_the_beginning(created: str) -> None:
    assert ends(created, [], HALF_A_MINUTE, ARRIVED) == [Claim(SEVEN + HALF_A_MINUTE, TimeSource.CONTAINER)]


def test_a_container_that_was_made_when_the_clip_was_over_tells_the_end() -> None:
    made = ARRIVED - timedelta(seconds=5)
    assert ends(made.isoformat(), [], HALF_A_MINUTE, ARRIVED) == [Claim(made, TimeSource.CONTAINER)]


def test_the_name_comes_after_the_container() -> None:
    named = [Claim(SEVEN, TimeSource.FILE_NAME)]
    assert [claim.source for claim in ends("2026-11-23T07:00:00Z", named, HALF_A_MINUTE, ARRIVED)] == [
        TimeSource.CONTAINER,
        TimeSource.FILE_NAME,
    ]
    assert ends(None, named, HALF_A_MINUTE, ARRIVED) == [Claim(SEVEN + HALF_A_MINUTE, TimeSource.FILE_NAME)]


@pytest.mark.parametrize(
    "created",
    [
        None,
        "",
        "yesterday",
        "1904-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "2000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_a_container_that_knows_nothing_claims_nothing(created: str | None) -> None:
    assert ends(created, [], HALF_A_MINUTE, ARRIVED) == []


@given(st.text(max_size=40) | st.datetimes().map(str), st.floats(0, 86_400))
def test_no_claim_is_moved_behind_the_arrival(created: str, duration: float) -> None:
    for claim in ends(created, [], timedelta(seconds=duration), ARRIVED):
        assert claim.time <= ARRIVED + NEAR or claim.time.replace(tzinfo=None).isoformat(" ") in created


RIGHT, UNKNOWN = CameraClock(timedelta(0)), CameraClock()
AN_HOUR_SLOW = CameraClock(timedelta(hours=1))
CLAIM = Claim(SEVEN, TimeSource.FILE_NAME)


@pytest.mark.parametrize(
    ("clock", "claims", "modified_at", "expected"),
    [
        (RIGHT, [CLAIM], None, (SEVEN, TimeSource.FILE_NAME)),
        (AN_HOUR_SLOW, [CLAIM], None, (ARRIVED, TimeSource.FILE_NAME)),
        (
            UNKNOWN,
            [Claim(ARRIVED - HALF_A_MINUTE, TimeSource.CONTAINER)],
            None,
            (ARRIVED - HALF_A_MINUTE, TimeSource.CONTAINER),
        ),
        (UNKNOWN, [CLAIM], None, (ARRIVED, TimeSource.ARRIVAL)),
        (UNKNOWN, [CLAIM], SEVEN, (ARRIVED, TimeSource.ARRIVAL)),
        (UNKNOWN, [CLAIM], ARRIVED - HALF_A_MINUTE, (ARRIVED - HALF_A_MINUTE, TimeSource.MODIFIED)),
        (UNKNOWN, [], SEVEN, (SEVEN, TimeSource.MODIFIED)),
        (UNKNOWN, [], datetime(1980, 1, 1, tzinfo=UTC), (ARRIVED, TimeSource.ARRIVAL)),
    ],
)
def test_the_end_is_told_by_who_can_know(
    clock: CameraClock, claims: list[Claim], modified_at: datetime | None, expected: tuple[datetime, TimeSource]
) -> None:
    found = ended(claims, modified_at, ARRIVED, clock)
    assert (found.at, found.source) == expected
    assert found.clock == clock
