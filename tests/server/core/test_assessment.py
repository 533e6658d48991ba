# SPDX-License-Identifier: AGPL-3.0-or-later
"""Levels, their thresholds, and the sum of factors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.assessment import MAX_SCORE, Factor, LevelThresholds, RiskLevel, risk_level, total_score

SCORES = st.integers(0, MAX_SCORE)
THRESHOLDS = st.lists(st.integers(1, MAX_SCORE), min_size=3, max_size=3, unique=True).map(
    lambda bounds: LevelThresholds(*sorted(bounds))
)


@pytest.mark.parametrize(
    ("score", "level"),
    [
        (0, "low"),
        (29, "low"),
        (30, "medium"),
        (59, "medium"),
        (60, "high"),
        (84, "high"),
        (85, "critical"),
        (100, "critical"),
    ],
)
def test_the_levels_begin_at_the_default_thresholds(score: int, level: str) -> None:
    assert risk_level(score, LevelThresholds()) == level


@given(SCORES, SCORES, THRESHOLDS)
def test_a_higher_score_never_has_a_lower_level(one: int, other: int, thresholds: LevelThresholds) -> None:
    low, high = sorted((one, other))
    assert risk_level(low, thresholds).rank <= risk_level(high, thresholds).rank


@given(THRESHOLDS)
def test_each_threshold_is_the_lowest_score_of_its_level(thresholds: LevelThresholds) -> None:
    for level, lowest in (("medium", thresholds.medium), ("high", thresholds.high), ("critical", thresholds.critical)):
        assert risk_level(lowest, thresholds) == level
        assert risk_level(lowest - 1, thresholds) != level


@pytest.mark.parametrize("score", [-1, 101])
def test_a_score_out_of_range_has_no_level(score: int) -> None:
    with pytest.raises(ValueError, match="outside 0 to 100"):
        risk_level(score, LevelThresholds())


@pytest.mark.parametrize("bounds", [(0, 60, 85), (30, 30, 85), (60, 30, 85), (30, 85, 60), (30, 60, 101)])
def test_thresholds_must_rise_within_the_range(bounds: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        LevelThresholds(*bounds)


def test_the_ranks_follow_the_levels() -> None:
    assert [level.rank for level in RiskLevel] == [0, 1, 2, 3]


@given(st.lists(st.integers(-50, 80)))
def test_the_score_is_the_clamped_sum_of_the_factors(points: list[int]) -> None:
    score = total_score([Factor("any", each, "test") for each in points])
    assert score == min(max(sum(points), 0), MAX_SCORE)
