# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which pictures of a clip are kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.ingest.clips.sampling import LUMA_SIZE, SCENE_CHANGE, Candidate, Luma, difference, select

CANDIDATES = st.lists(
    st.builds(Candidate, st.floats(0, 600), st.floats(0, 1)), min_size=1, max_size=80, unique_by=lambda one: one.offset
)


@given(CANDIDATES, st.integers(1, 40))
def test_as_many_as_wanted_are_kept_in_order(candidates: list[Candidate], count: int) -> None:
    kept = select(candidates, count)
    assert len(kept) == min(count, len(candidates))
    assert set(kept) <= set(candidates)
    assert kept == sorted(kept, key=lambda one: one.offset)


@given(CANDIDATES, st.integers(1, 40), st.randoms())
def test_the_order_of_the_candidates_does_not_matter(candidates: list[Candidate], count: int, random: object) -> None:
    shuffled = sorted(candidates, key=lambda one: hash((one.offset, str(random))))
    assert select(shuffled, count) == select(candidates, count)


@given(CANDIDATES, st.integers(2, 40))
def test_the_first_and_the_last_are_kept(candidates: list[Candidate], count: int) -> None:
    kept = {one.offset for one in select(candidates, count)}
    assert {min(one.offset for one in candidates), max(one.offset for one in candidates)} <= kept


@given(CANDIDATES, st.integers(3, 40))
def test_every_part_of_the_clip_keeps_its_greatest_change(candidates: list[Candidate], count: int) -> None:
    kept = select(candidates, count)
    first, last = (pick(one.offset for one in candidates) for pick in (min, max))
    inner = [one for one in candidates if first < one.offset < last]
    for slot in range(count - 2):
        inside = [
            one for one in inner if min(int((one.offset - first) / (last - first) * (count - 2)), count - 3) == slot
        ]
        if inside:
            assert max(one.change for one in inside) in {one.change for one in kept if one in inside}


@given(CANDIDATES)
def test_the_greatest_change_of_all_survives_alone(candidates: list[Candidate]) -> None:
    assert select(candidates, 1)[0].change == max(one.change for one in candidates)


def test_a_burst_does_not_crowd_out_the_rest() -> None:
    burst = [Candidate(1 + number / 100, 0.9) for number in range(50)]
    calm = [Candidate(float(number), 0.01) for number in range(60)]
    kept = select([*burst, *calm], 12)
    assert sum(one in burst for one in kept) == 1
    assert len({int(one.offset // 6) for one in kept}) == 10


def luma(level: int) -> Luma:
    width, height = LUMA_SIZE
    return np.full((height, width), level, np.uint8)


@pytest.mark.parametrize(("one", "other", "expected"), [(0, 0, 0), (0, 255, 1), (255, 0, 1), (100, 151, 0.2)])
def test_the_difference_of_two_pictures(one: int, other: int, expected: float) -> None:
    assert difference(luma(one), luma(other)) == pytest.approx(expected)


def test_noise_is_no_change_and_a_light_that_goes_on_is() -> None:
    noise = np.random.default_rng(1).integers(0, 6, luma(0).shape, np.uint8)
    assert difference(luma(100), luma(100) + noise) < SCENE_CHANGE / 2
    assert difference(luma(100), luma(130)) > SCENE_CHANGE
