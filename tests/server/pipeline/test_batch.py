# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which pictures belong together, for pictures at any times."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.detection import Sighting
from inference_server.core.event import EndReason, Event
from inference_server.pipeline.batch import BatchRules, End
from inference_server.settings import BatchSettings
from tests.support.bench import a_person
from tests.support.home import START, assessment

IDLE, WINDOW, FULL = 30, 90, 8
RULES = BatchRules(BatchSettings(idle_seconds=IDLE, window_seconds=WINDOW, max_frames=FULL))
GAPS = st.lists(st.integers(0, 45) | st.integers(0, 5) | st.integers(100, 5000), min_size=1, max_size=60)
LATE = st.lists(st.integers(0, WINDOW), min_size=60, max_size=60)


def _after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _sightings(seconds: Sequence[float]) -> list[Sighting]:
    return [Sighting(number, _after(at), 64, 48, (a_person(),)) for number, at in enumerate(seconds, 1)]


def _rising(gaps: Sequence[int]) -> list[int]:
    return [sum(gaps[: number + 1]) for number in range(len(gaps))]


def _joined(sightings: Sequence[Sighting], chunks: Sequence[int]) -> list[Event]:
    """Return the events that the sightings make when they come in chunks of these sizes; the last may be open."""
    made: list[Event] = []
    waiting = list(sightings)
    for size in [*chunks, len(waiting)]:
        chunk, waiting = waiting[:size], waiting[size:]
        last = made[-1] if made else None
        event = last if last and last.is_open else None
        for segment in RULES.split(event, chunk, last.ended_at if last else None):
            event = made.pop() if segment.continues else None
            for sighting in segment.sightings:
                event = _with(event, sighting)
            assert event is not None
            end = segment.end
            made.append(replace(event, ended_at=end.at, end_reason=end.reason) if end else event)
    return made


def _with(event: Event | None, sighting: Sighting) -> Event:
    at, number = sighting.captured_at, sighting.frame_id
    if event is None:
        event = Event(number, "front", at, at, None, None, 0, number, 0.9, (), assessment(20, START))
    last = max(event.last_detection_at, at)
    return replace(event, frame_count=event.frame_count + 1, last_detection_at=last)


def _check(events: Sequence[Event], count: int) -> None:
    assert sum(event.frame_count for event in events) == count
    assert all(event.frame_count <= FULL for event in events)
    assert all(not event.is_open for event in events[:-1])
    for event in events:
        assert event.started_at <= event.last_detection_at <= event.started_at + timedelta(seconds=WINDOW)
        if event.ended_at is not None:
            assert event.last_detection_at <= event.ended_at <= event.started_at + timedelta(seconds=WINDOW)
    for before, event in itertools.pairwise(events):
        assert before.ended_at is not None
        assert before.ended_at <= event.started_at


@given(GAPS)
def test_pictures_in_order_make_events_that_neither_overlap_nor_outgrow_their_limits(gaps: list[int]) -> None:
    _check(_joined(_sightings(_rising(gaps)), []), len(gaps))


@given(GAPS, LATE)
def test_late_pictures_change_nothing_about_that(gaps: list[int], late: list[int]) -> None:
    seconds = [at - delay for at, delay in zip(_rising(gaps), late, strict=False)]
    _check(_joined(_sightings(seconds), []), len(gaps))


@given(GAPS, LATE, st.lists(st.integers(1, 10)))
def test_it_does_not_matter_how_many_pictures_come_together(
    gaps: list[int], late: list[int], chunks: list[int]
) -> None:
    seconds = [at - delay // 8 for at, delay in zip(_rising(gaps), late, strict=False)]
    assert _joined(_sightings(seconds), chunks) == _joined(_sightings(seconds), [])


@given(GAPS)
def test_an_event_ends_only_for_its_reason(gaps: list[int]) -> None:
    for event in _joined(_sightings(_rising(gaps)), []):
        match event.end_reason:
            case EndReason.SIZE:
                assert (event.frame_count, event.ended_at) == (FULL, event.last_detection_at)
            case EndReason.IDLE:
                assert event.ended_at == event.last_detection_at + timedelta(seconds=IDLE)
            case EndReason.WINDOW:
                assert event.ended_at == event.started_at + timedelta(seconds=WINDOW)


def test_without_a_new_sighting_a_batch_ends_by_idleness_or_by_its_window() -> None:
    assert RULES.end(START, START) == End(_after(IDLE), EndReason.IDLE)
    assert RULES.end(START, _after(60)) == End(_after(WINDOW), EndReason.IDLE)
    assert RULES.end(START, _after(61)) == End(_after(WINDOW), EndReason.WINDOW)


def test_a_clock_that_was_far_ahead_does_not_keep_an_event_open() -> None:
    ahead, now = _sightings([10_000, 0])
    first, second = RULES.split(None, [ahead, now])
    assert first.end == End(_after(10_000 + IDLE), EndReason.IDLE)
    assert second.sightings == (now,)


def test_no_sightings_change_nothing() -> None:
    assert RULES.split(None, []) == []
