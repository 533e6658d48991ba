# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which camera follows which is learnt from what comes after what, and not from what comes often."""

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.detection import Category
from inference_server.core.transition import Onset, Transition
from inference_server.risk.transitions import HALF_LIFE, Key, count, follows, learnt, merged, wilson
from tests.support.home import START

WITHIN = timedelta(minutes=2)
HOUR = timedelta(hours=1)
CAMERAS = ("gate", "door", "yard")


def _days(number: int, *, seed: int, gate_leads_to_door: bool) -> dict[Key, Transition]:
    """Count so many days of a home whose cameras see somebody a few times an hour, most of them in the morning."""
    random, known = Random(seed), dict[Key, Transition]()
    for hour in range(24 * number):
        begin = START + hour * HOUR
        busy = 6 if hour % 24 in {7, 8} else 1
        onsets = [
            Onset(camera, Category.PERSON, begin + timedelta(seconds=random.uniform(0, 3600)))
            for camera in CAMERAS
            for _ in range(busy)
        ]
        if gate_leads_to_door:
            later = timedelta(seconds=random.uniform(20, 90))
            onsets += [replace(o, camera_id="door", at=o.at + later) for o in onsets if o.camera_id == "gate"]
        onsets.sort(key=lambda onset: onset.at)
        counted = count(onsets, begin, begin + HOUR, WITHIN, CAMERAS)
        for item in merged(known, counted):
            known[item.from_camera, item.to_camera, item.category] = item
    return known


@pytest.mark.parametrize("seed", range(5))
def test_only_who_comes_after_is_learnt(seed: int) -> None:
    assert learnt(_days(7, seed=seed, gate_leads_to_door=True).values()) == {("gate", "door", Category.PERSON)}
    assert learnt(_days(7, seed=seed, gate_leads_to_door=False).values()) == set()


def test_little_says_nothing() -> None:
    few = _days(1, seed=1, gate_leads_to_door=True)["gate", "door", Category.PERSON]
    assert not follows(replace(few, onsets=4, followed=4, by_chance=0))
    assert follows(replace(few, onsets=20, followed=18, by_chance=2))
    assert not follows(replace(few, onsets=20, followed=18, by_chance=12))


def test_animals_lead_nowhere() -> None:
    onsets = [Onset("gate", Category.ANIMAL, START), Onset("door", Category.ANIMAL, START + timedelta(seconds=30))]
    assert count(onsets, START, START + HOUR, WITHIN, CAMERAS) == []


def test_what_was_long_ago_counts_for_less() -> None:
    old = Transition("gate", "door", Category.PERSON, 8, 4, 2, START)
    new = replace(old, onsets=1, followed=0, by_chance=0, updated_at=START + HALF_LIFE)
    (both,) = merged({("gate", "door", Category.PERSON): old}, [new])
    assert (both.onsets, both.followed, both.by_chance) == pytest.approx((5, 2, 1))
    earlier = replace(new, updated_at=START - HALF_LIFE)  # a clock that went back
    assert merged({("gate", "door", Category.PERSON): old}, [earlier])[0].onsets == pytest.approx(9)


@given(st.floats(0, 1), st.floats(0.1, 1e6))
def test_an_interval_holds_its_share(share: float, trials: float) -> None:
    low, high = wilson(share * trials, trials)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1


def test_the_hours_are_counted_by_their_own_onsets() -> None:
    times: list[datetime] = [START - timedelta(seconds=1), START, START + HOUR]
    onsets = [Onset("gate", Category.PERSON, at) for at in times]
    (to_door, to_yard) = count(onsets, START, START + HOUR, WITHIN, CAMERAS)
    assert (to_door.onsets, to_yard.to_camera) == (1, "yard")
