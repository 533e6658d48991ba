# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was seen, in plain English; and when it is night."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.detection import Label, Track
from inference_server.risk.evidence import is_night
from inference_server.risk.wording import describe
from tests.support.home import START


def _tracks(labels: list[Label]) -> list[Track]:
    return [Track(label, 0.9, START, START, 1) for label in labels]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([], "nothing"),
        ([Label.PERSON], "a person"),
        ([Label.PERSON] * 4 + [Label.BUS], "4 people and a bus"),
        ([Label.BUS, Label.DOG, Label.PERSON, Label.DOG], "a person, a bus and 2 dogs"),
        ([Label.BUS] * 2, "2 buses"),
    ],
)
def test_what_was_seen_is_told_in_plain_english(labels: list[Label], text: str) -> None:
    assert describe(_tracks(labels)) == text


@given(st.lists(st.sampled_from(Label), min_size=1))
def test_every_label_is_named_once_in_its_number(labels: list[Label]) -> None:
    words = describe(_tracks(labels)).replace(" and ", ", ").split(", ")
    assert len(words) == len(set(labels))
    counts = [1 if word.startswith("a ") else int(word.split()[0]) for word in words]
    assert sum(counts) == len(labels)


@pytest.mark.parametrize(
    ("hour", "starts", "ends", "night"),
    [
        (22, 22, 6, True),
        (21, 22, 6, False),
        (0, 22, 6, True),
        (5, 22, 6, True),
        (6, 22, 6, False),
        (1, 1, 5, True),
        (5, 1, 5, False),
        (0, 1, 5, False),
        (12, 7, 7, False),
    ],
)
def test_the_night_may_span_midnight(hour: int, starts: int, ends: int, night: bool) -> None:
    assert is_night(datetime(2026, 11, 23, hour, 59, tzinfo=START.tzinfo), starts, ends) is night
