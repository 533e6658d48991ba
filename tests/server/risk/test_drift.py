# SPDX-License-Identifier: AGPL-3.0-or-later
"""Drift: said when it is nearly sure, not with few events, and not to and fro."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.assessment import Factor, RiskLevel
from inference_server.core.mix import DayMix
from inference_server.risk.drift import (
    DriftState,
    Excess,
    camera_of_most,
    explained,
    factor_of_most,
    judge,
    wilson_lower,
)
from inference_server.settings import UsualLevels

USUAL = UsualLevels().shares
LOW, MEDIUM, HIGH, CRITICAL = RiskLevel


def _days(*mixes: tuple[int, int, int, int]) -> list[DayMix]:
    return [DayMix({"street": dict(zip(RiskLevel, mix, strict=True))}, 0) for mix in mixes]


def _state(*mixes: tuple[int, int, int, int], drifted: bool = False) -> DriftState:
    return judge(_days(*mixes), USUAL, drifted=drifted).state


def test_a_usual_week_and_a_quiet_one_are_usual() -> None:
    assert _state(*[(17, 2, 1, 0)] * 7) is DriftState.USUAL
    assert _state(*[(400, 0, 0, 0)] * 7) is DriftState.USUAL


def test_a_week_full_of_alarms_drifts_and_names_the_worst_level() -> None:
    found = judge(_days(*[(19, 2, 9, 0)] * 7), USUAL, drifted=False)
    assert found.state is DriftState.DRIFTING
    assert found.excess
    assert (found.excess.level, round(found.excess.share, 2), found.excess.events) == (HIGH, 0.3, 210)
    assert found.excess.usual == pytest.approx(0.05)
    critical = judge(_days(*[(85, 3, 0, 12)] * 7), USUAL, drifted=False).excess
    assert critical
    assert critical.level is CRITICAL


@pytest.mark.parametrize(
    "mixes",
    [[(0, 0, 0, 0)] * 7, [(0, 0, 4, 0)] * 7, [(0, 0, 90, 0), (0, 0, 90, 0)], [(9, 0, 1, 0)] * 2, []],
)
def test_a_few_events_or_days_tell_nothing(mixes: list[tuple[int, int, int, int]]) -> None:
    assert _state(*mixes) is DriftState.TOO_FEW
    assert _state(*mixes, drifted=True) is DriftState.TOO_FEW


def test_between_the_two_limits_it_stays_as_it_was() -> None:
    between = [(181, 0, 19, 0)] * 7  # 9.5 per cent: more than 1.5 and less than 2 times what is usual
    assert _state(*between) is DriftState.USUAL
    assert _state(*between, drifted=True) is DriftState.DRIFTING
    assert _state(*[(187, 0, 13, 0)] * 7, drifted=True) is DriftState.USUAL
    one_of_many = [(9, 0, 0, 1), *[(9, 0, 0, 0)] * 6]
    assert _state(*one_of_many, drifted=True) is DriftState.USUAL


def test_what_is_usual_is_hardly_ever_called_drift() -> None:
    random = np.random.default_rng(5)
    shares = [USUAL[level] for level in RiskLevel]
    weeks = [[tuple(day) for day in random.multinomial(8, shares, size=7).tolist()] for _ in range(2000)]
    assert sum(_state(*week) is DriftState.DRIFTING for week in weeks) < 2000 / 200


@given(st.integers(1, 5000), st.data())
def test_the_lower_bound_lies_below_the_share_and_rises_with_it(of: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, of))
    assert 0 <= wilson_lower(number, of) <= number / of
    if number < of:
        assert wilson_lower(number, of) <= wilson_lower(number + 1, of)


def test_the_lower_bound_of_known_cases() -> None:
    assert wilson_lower(0, 0) == 0.0
    assert wilson_lower(10, 100, 1.96) == pytest.approx(0.0552, abs=1e-4)
    assert wilson_lower(1, 1, 1.96) == pytest.approx(0.2065, abs=1e-4)


def test_it_says_where_it_comes_from() -> None:
    days = [DayMix({"street": {HIGH: 4}, "door": {LOW: 90, CRITICAL: 1}}, 0), DayMix({"door": {HIGH: 2}}, 0)]
    assert camera_of_most(days, HIGH) == "street"
    assert camera_of_most(days, CRITICAL) == "door"
    assert camera_of_most([DayMix({"door": {LOW: 3}}, 0)], HIGH) is None
    seen = [Factor("person_seen", 90, ""), Factor("usual", -5, "")]
    assert factor_of_most([seen, [*seen, Factor("lingering", 28, "")]]) == "lingering"
    assert factor_of_most([seen]) is None
    told = explained(Excess(HIGH, 0.31, 0.05, 214), "100%", "lingering")
    assert told == (
        "31 % of 214 events of the last 7 days were high or critical; 5 % are usual; "
        'most by camera "100%", by the factor lingering.'
    )
    assert explained(Excess(CRITICAL, 0.31, 0.01, 40), None, None).endswith("were critical; 1 % are usual.")


def test_the_usual_shares_are_all_of_it() -> None:
    shares: Mapping[RiskLevel, float] = UsualLevels(medium=20, high=10, critical=5).shares
    assert shares[LOW] == pytest.approx(0.65)
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("wrong", [{"medium": 0}, {"high": float("nan")}, {"critical": 60}, {"high": 1e308}])
def test_what_cannot_be_usual_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the messages are pydantic's
        UsualLevels.model_validate(wrong)
