# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera's view over a day, and what may be wrong with it."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from inference_server.core.view import EDGES, REGIONS, Light, View, ViewProblem
from inference_server.detection.preprocess import decode_picture
from inference_server.detection.scene import PLAIN, Signature, same_share, sign
from inference_server.detection.scene_watch import Patience, watch
from scripts.development.samples import BUS, MOTORCYCLE, TWO_PEOPLE, Sample, sample_path
from tests.support import days
from tests.support.days import MIDNIGHT, Day

PATIENCE = Patience()
SECONDS = 300
SPOILT: dict[str, tuple[set[ViewProblem], Callable[[Image.Image, np.random.Generator], Image.Image]]] = {
    "black": ({ViewProblem.TOO_DARK}, lambda image, _: Image.new("RGB", image.size, (4, 4, 4))),
    "white": ({ViewProblem.BLOCKED}, lambda image, _: Image.new("RGB", image.size, (250, 250, 250))),
    "cloth": ({ViewProblem.BLOCKED}, days.covered),
    "spray": ({ViewProblem.BLOCKED, ViewProblem.BLURRED}, days.sprayed),
    "turned by a quarter of the view": ({ViewProblem.MOVED}, lambda image, _: days.shifted(image)),
    "turned by an eighth": ({ViewProblem.MOVED}, lambda image, _: days.shifted(image, 0.125)),
    "askew": ({ViewProblem.MOVED, ViewProblem.BLOCKED}, lambda image, _: days.rotated(image)),
    "out of focus": ({ViewProblem.BLURRED}, lambda image, _: days.defocused(image)),
}


def picture(sample: Sample) -> Image.Image:
    with Image.open(sample_path(sample)) as image:
        return image.convert("RGB")


@cache
def day(view: Sample) -> Day:
    bus = picture(BUS)
    passers = (bus.crop((30, 380, 255, 930)), bus.crop((20, 230, 800, 800)), picture(TWO_PEOPLE))
    return Day(ImageOps.fit(picture(view), days.SIZE), passers)


def signature(jpeg: bytes) -> Signature:
    return sign(decode_picture(jpeg, 640).pixels)


def seen(view: View, pictures: Iterable[tuple[datetime, bytes]]) -> View:
    for at, jpeg in pictures:
        view = watch(view, signature(jpeg), at, at, PATIENCE)
    return view


@cache
def over_the_day(sample: Sample) -> tuple[dict[int, View], tuple[datetime, ...]]:
    """Return what is remembered at each full hour, and when something was wrong."""
    view, at_hours, alarms = View(), {}, []
    for at, jpeg in day(sample).pictures(SECONDS):
        view = watch(view, signature(jpeg), at, at, PATIENCE)
        if at.minute == 0:
            at_hours[at.hour] = view
        if view.state.problems:
            alarms.append(at)
    return at_hours, tuple(alarms)


@pytest.mark.parametrize("sample", [BUS, MOTORCYCLE])
def test_a_day_of_ordinary_pictures_gives_no_alarm(sample: Sample) -> None:
    at_hours, alarms = over_the_day(sample)
    assert alarms == ()
    assert at_hours[23].baselines.keys() == set(Light), "each light of the day was learnt"


@pytest.mark.parametrize("hour", [2, 12])
@pytest.mark.parametrize("kind", SPOILT)
def test_what_spoils_the_view_is_found_within_six_pictures(kind: str, hour: int) -> None:
    expected, spoil = SPOILT[kind]
    view, ordinary, random = over_the_day(MOTORCYCLE)[0][hour], day(MOTORCYCLE), np.random.default_rng(hour)
    started = MIDNIGHT + timedelta(hours=hour, seconds=20)
    for number in range(6):
        at = started + timedelta(seconds=20 * number)
        jpeg = days.encode(spoil(ordinary.image(at), random), at, random)
        view = watch(view, signature(jpeg), at, at, PATIENCE)
        assert not view.state.problems or number >= PATIENCE.pictures - 1
    problem, *others = view.state.problems
    assert problem.kind in expected
    assert started <= problem.since <= started + timedelta(seconds=40)
    sudden = problem.kind is not ViewProblem.TOO_DARK and problem.since == started
    assert [other.kind for other in others] == [ViewProblem.TAMPERED] * sudden
    baselines = view.baselines

    free = ((at, ordinary.picture(at)) for at in (at + timedelta(seconds=20 * step) for step in range(1, 9)))
    view = seen(view, free)
    assert view.state.problems == ()
    assert baselines.keys() == view.baselines.keys(), "nothing was learnt of the spoilt view"


def test_what_was_wrong_before_dusk_is_wrong_after_it() -> None:
    at_hours, _ = over_the_day(MOTORCYCLE)
    noon, random = at_hours[12], np.random.default_rng(1)
    by_day = View(noon.state, {Light.DAY: noon.baselines[Light.DAY]})
    view, at = by_day, MIDNIGHT + timedelta(hours=12)
    for _ in range(60):
        at += timedelta(seconds=20)
        cloth = days.covered(day(MOTORCYCLE).image(at), random)
        grey = cloth.convert("L").convert("RGB") if at.minute >= 10 else cloth
        view = watch(view, signature(days.encode(grey, at, random)), at, at, PATIENCE)
    assert view.state.problems[0].kind is ViewProblem.BLOCKED
    assert view.baselines.keys() == {Light.DAY}


def test_a_first_evening_after_a_long_pause_is_learnt_and_no_alarm() -> None:
    at_hours, _ = over_the_day(MOTORCYCLE)
    by_day = View(at_hours[12].state, {Light.DAY: at_hours[12].baselines[Light.DAY]})
    view = seen(by_day, day(MOTORCYCLE).pictures(60, (22, 22.5)))
    assert view.state.problems == ()
    assert view.baselines.keys() == {Light.DAY, Light.INFRARED}


def test_the_same_picture_with_a_running_clock_is_frozen_and_a_still_camera_is_not() -> None:
    started = MIDNIGHT + timedelta(hours=12)
    still = day(BUS).image(started)
    frozen = ((at, days.encode(still, at)) for at in (started + timedelta(seconds=60 * n) for n in range(13)))
    (problem,) = seen(View(), frozen).state.problems
    assert (problem.kind, problem.since) == (ViewProblem.FROZEN, started + timedelta(seconds=60))
    living = seen(View(), day(BUS).pictures(60, (12, 12.5)))
    assert living.state.still is None


def test_plain_parts_do_not_make_a_picture_frozen() -> None:
    dark = signature(days.encode(Image.new("RGB", days.SIZE), MIDNIGHT))
    assert dark.prints.count(PLAIN) > 40
    assert same_share(dark.prints, dark.prints) == 0
    assert same_share((), dark.prints) == 0


def test_a_privacy_mask_does_not_hide_that_the_lens_is_covered() -> None:
    def masked(image: Image.Image) -> Image.Image:
        image = image.copy()
        for left in range(0, image.width, 60):
            ImageDraw.Draw(image).polygon([(left, 0), (left + 40, 0), (left + 20, image.height)], fill="black")
        return image

    random, ordinary = np.random.default_rng(2), day(MOTORCYCLE)
    view, at = View(), MIDNIGHT + timedelta(hours=12)
    for number in range(30):
        at += timedelta(seconds=20)
        image = ordinary.image(at) if number < 20 else days.covered(ordinary.image(at), random)
        view = watch(view, signature(days.encode(masked(image), at, random)), at, at, PATIENCE)
    assert view.state.problems[0].kind is ViewProblem.BLOCKED


def test_a_picture_that_comes_late_or_twice_changes_nothing() -> None:
    pictures = list(day(BUS).pictures(60, (12, 12.2)))
    view = seen(View(), pictures)
    now = pictures[-1][0]
    for at, jpeg in (pictures[-1], pictures[3], (now - timedelta(hours=3), pictures[5][1])):
        assert watch(view, signature(jpeg), at, now + timedelta(minutes=1), PATIENCE) is view


def test_a_clock_that_was_ahead_does_not_stop_the_watch() -> None:
    pictures = list(day(BUS).pictures(60, (12, 12.2)))
    ahead = seen(View(), [(at + timedelta(days=400), jpeg) for at, jpeg in pictures])
    for at, jpeg in pictures:
        right = watch(ahead, signature(jpeg), at, at, PATIENCE)
        assert right.state.last_at == at
        ahead = right


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (640, 1), (64, 48), (810, 1080)])
def test_any_size_has_a_signature(size: tuple[int, int]) -> None:
    found = sign(np.asarray(Image.new("RGB", size, (9, 200, 30))))
    assert found.edges.shape == EDGES
    assert len(found.energy) == len(found.detail) == REGIONS
    assert all(np.isfinite(part).all() for part in (found.edges, found.energy, found.detail))
    assert found.light is Light.DAY


def test_the_same_pictures_give_the_same_memory() -> None:
    pictures = list(day(BUS).pictures(60, (12, 12.2)))
    one, other = seen(View(), pictures), seen(View(), pictures)
    assert one.state == other.state
    (light,) = one.baselines
    assert np.array_equal(one.baselines[light].edges, other.baselines[light].edges)
