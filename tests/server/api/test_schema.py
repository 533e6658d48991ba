# SPDX-License-Identifier: AGPL-3.0-or-later
"""From core values to the wire format."""

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.api import messages, schema
from inference_server.core.announcement import Announcement, AnnouncementKind, CameraState, SequencedAnnouncement
from inference_server.core.assessment import LevelThresholds, RiskLevel, risk_level, scores_of
from inference_server.core.camera import Camera
from inference_server.core.detection import Category
from tests.support.home import START

STATE = CameraState(
    camera=Camera("yard", "Yard", START),
    last_frame_id=None,
    judged=True,
    score=40,
    occupied_by=frozenset({Category.ANIMAL}),
    open_event_id=1,
    last_event_id=1,
)


@st.composite
def some_thresholds(draw: st.DrawFn) -> LevelThresholds:
    """Draw thresholds that rise."""
    bounds = draw(st.sets(st.integers(1, 100), min_size=3, max_size=3))
    return LevelThresholds(*sorted(bounds))


@given(score=st.integers(0, 100), thresholds=some_thresholds())
def test_a_level_never_contradicts_its_score(score: int, thresholds: LevelThresholds) -> None:
    assert schema.risk(score, thresholds).level is risk_level(score, thresholds)
    assert schema.camera(replace(STATE, score=score), thresholds).risk == schema.risk(score, thresholds)


@given(thresholds=some_thresholds(), score=st.integers(0, 100), level=st.sampled_from(RiskLevel))
def test_the_lowest_score_of_a_level_divides(thresholds: LevelThresholds, score: int, level: RiskLevel) -> None:
    reached = risk_level(score, thresholds).rank >= level.rank
    assert (score >= scores_of(level, thresholds).start) == reached


@pytest.mark.parametrize("state", [replace(STATE, judged=False), replace(STATE, score=None)])
def test_an_unjudged_camera_claims_nothing(state: CameraState) -> None:
    camera = schema.camera(state, LevelThresholds())
    assert (camera.risk, camera.occupancy) == (None, None)


def test_times_are_sent_in_utc() -> None:
    local = START.astimezone(timezone(timedelta(hours=-5)))
    camera = schema.camera(replace(STATE, camera=Camera("yard", "Yard", local)), LevelThresholds())
    assert '"created_at":"2026-11-23T08:00:00Z"' in camera.model_dump_json()


def test_an_announcement_that_tells_nothing_is_an_error() -> None:
    empty = SequencedAnnouncement(1, Announcement(AnnouncementKind.CAMERA_UPDATED, "yard", START))
    with pytest.raises(ValueError, match="camera_updated of yard"):
        messages.message(empty, LevelThresholds())
