# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which events tell one story: by camera, place, time and looks, and whatever the order in which they are told."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server.core.context import CameraPlace
from inference_server.core.detection import Category
from inference_server.risk.incidents import Ground, Member, Seen, Site, Strand, arrange
from tests.support.home import START

PERSON, VEHICLE, ANIMAL = Category.PERSON, Category.VEHICLE, Category.ANIMAL
SITES = {
    "street": Site(CameraPlace.STREET),
    "driveway": Site(CameraPlace.DRIVEWAY),
    "door": Site(CameraPlace.ENTRANCE),
    "garden": Site(CameraPlace.YARD),
    "shed": Site(CameraPlace.OTHER, ("barn",)),
    "barn": Site(CameraPlace.OTHER),
    "roof": Site(CameraPlace.OTHER),
}
_ids = count(1)


def _alike(one: bytes, other: bytes) -> float | None:
    """Return what the first bytes say: equal ones are alike, 0 cannot be compared."""
    return None if 0 in {one[0], other[0]} else float(one == other)


GROUND = Ground(
    sites=SITES,
    learnt=frozenset({("roof", "barn", PERSON)}),
    same_camera=timedelta(minutes=5),
    next_camera=timedelta(minutes=2),
    longest=timedelta(hours=2),
    harmless_below=30,
    alike=_alike,
)


def member(
    camera: str,
    at: float,
    seconds: float = 20,
    *,
    what: Category = PERSON,
    score: int = 40,
    look: bytes | None = None,
    identity: int | None = None,
    x: float | None = None,
) -> Member:
    """Return an event that begins so many seconds after the start."""
    begin, end = START + timedelta(seconds=at), START + timedelta(seconds=at + seconds)
    point = None if x is None else (x, 0.9)
    seen = Seen(what, begin, end, point, point, look, identity)
    return Member(next(_ids), camera, begin, end, score, (seen,))


def groups(members: Sequence[Member], ground: Ground = GROUND) -> set[frozenset[int]]:
    """Return which events are in one incident."""
    found: dict[Strand, set[int]] = {}
    for event_id, strand in arrange(members, ground, {}).items():
        found.setdefault(strand, set()).add(event_id)
    return {frozenset(group) for group in found.values()}


def joined(*members: Member) -> bool:
    """Return whether all of them are in one incident."""
    return len(groups(members)) == 1


def test_who_crosses_three_cameras_is_one_incident() -> None:
    assert joined(member("street", 0), member("driveway", 40), member("door", 90))


def test_two_who_have_nothing_to_do_with_each_other_are_two() -> None:
    visitor = [member("street", 0), member("driveway", 40), member("door", 90)]
    other = [member("shed", 10), member("barn", 60)]
    assert groups([*visitor, *other]) == {frozenset(m.event_id for m in story) for story in (visitor, other)}


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (member("door", 0), member("door", 320), True),
        (member("door", 0), member("door", 321), False),
        (member("door", 0, what=VEHICLE), member("door", 60), False),
        (member("door", 0, what=ANIMAL), member("door", 60, what=ANIMAL), True),
        (member("driveway", 0, what=ANIMAL), member("door", 30, what=ANIMAL), False),
        (member("driveway", 0, what=VEHICLE), member("street", 30, what=VEHICLE), True),
        (member("driveway", 0, what=VEHICLE), member("door", 30), False),
        (member("door", 0), member("driveway", 140), True),
        (member("door", 0), member("driveway", 141), False),
        (member("garden", 0, 80), member("door", 10, 80), False),  # at both at once: two people
        (member("garden", 0, 80), member("door", 75, 80), True),
        (member("shed", 0, 80), member("barn", 10, 80), True),  # said to lead there: one place
        (member("barn", 0), member("shed", 60), True),
        (member("roof", 0), member("barn", 60), True),
        (member("barn", 0), member("roof", 60), False),  # learnt the other way only
        (member("roof", 0, what=VEHICLE), member("barn", 60, what=VEHICLE), False),
        (member("roof", 0), member("shed", 60), False),
        (member("roof", 0), member("door", 60), False),
        (member("gone", 0), member("door", 60), False),
        (member("door", 0, identity=7), member("roof", 200, identity=7), True),
        (member("door", 0, identity=7), member("roof", 200, identity=8), False),
        (member("door", 0, look=b"\1"), member("driveway", 100, look=b"\2"), False),
        (member("door", 0, look=b"\0"), member("driveway", 100, look=b"\2"), True),
        (member("door", 0, look=b"\1"), member("driveway", 250, look=b"\1"), True),
        (member("door", 0, look=b"\1"), member("door", 100, look=b"\2"), True),
    ],
)
def test_what_joins_and_what_does_not(first: Member, second: Member, together: bool) -> None:
    assert joined(first, second) is together


def test_the_nearest_story_is_the_one_that_goes_on() -> None:
    early, late = member("driveway", 0), member("garden", 50)
    door = member("door", 90)
    assert groups([early, late, door]) == {frozenset({early.event_id, late.event_id, door.event_id})}
    apart = member("shed", 30)
    barn = member("barn", 80)
    assert frozenset({apart.event_id, barn.event_id}) in groups([early, apart, barn, door])


def test_an_event_that_two_stories_could_claim_makes_no_one_of_both() -> None:
    both = replace(GROUND, learnt=frozenset({("shed", "roof", PERSON), ("door", "roof", PERSON)}))
    first, second, claimed = member("shed", 0), member("door", 10), member("roof", 60)
    assert groups([first, second, claimed], both) == {
        frozenset({first.event_id}),
        frozenset({second.event_id, claimed.event_id}),
    }


def test_passers_by_on_a_street_are_no_endless_story() -> None:
    walkers = [member("street", 60 * number, 50, score=10, x=number % 3 * 0.3) for number in range(60)]
    assert len(groups(walkers)) == 60
    assert not joined(member("street", 0, score=10), member("driveway", 30, score=10))
    assert joined(member("street", 0, score=10), member("driveway", 30, score=40))


def test_who_stays_on_the_street_stays_one_story_for_a_while() -> None:
    stays = [member("street", 60 * number, 50, score=10, x=0.5) for number in range(30)]
    assert sorted(map(len, groups(stays))) == [8, 11, 11]


def test_an_incident_has_a_longest_length() -> None:
    long = [member("door", 60 * number, 50) for number in range(24 * 60)]
    assert max(map(len, groups(long))) == 121


CAMERAS = st.sampled_from(["street", "driveway", "door", "shed", "barn", "roof"])
EVENTS = st.lists(
    st.builds(
        member,
        CAMERAS,
        st.integers(0, 1500),
        st.integers(0, 90),
        what=st.sampled_from([PERSON, PERSON, VEHICLE, ANIMAL]),
        score=st.sampled_from([10, 40, 90]),
        look=st.sampled_from([None, b"\0", b"\1", b"\2"]),
    ),
    max_size=14,
)


@settings(deadline=None, max_examples=150)
@given(EVENTS, st.randoms(use_true_random=False))
def test_the_order_in_which_events_come_changes_nothing(events: list[Member], random: object) -> None:
    shuffled = events[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert groups(shuffled) == groups(events)


@settings(deadline=None, max_examples=150)
@given(EVENTS, st.randoms(use_true_random=False))
def test_arranging_anew_from_each_change_on_ends_where_arranging_all_at_once_does(
    events: list[Member], random: object
) -> None:
    order = events[:]
    random.shuffle(order)  # type: ignore[attr-defined]
    there: list[Member] = []
    strands: dict[int, Strand] = {}
    for event in order:
        there.append(event)
        known = {one.event_id: strands[one.event_id] for one in there if one.started_at < event.started_at}
        strands = arrange(there, GROUND, known)
    assert strands == arrange(events, GROUND, {})


@settings(deadline=None, max_examples=150)
@given(EVENTS)
def test_every_event_has_one_incident_that_is_no_longer_than_the_longest(events: list[Member]) -> None:
    short = replace(GROUND, longest=timedelta(minutes=5))
    strands = arrange(events, short, {})
    assert strands.keys() == {one.event_id for one in events}
    for one in events:
        assert timedelta(0) <= one.started_at - strands[one.event_id].started_at <= short.longest
        assert strands[strands[one.event_id].first_event_id] == strands[one.event_id]
