# SPDX-License-Identifier: AGPL-3.0-or-later
"""Camera ids and names, from folder names of any script."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.camera import (
    MAX_CAMERA_ID_LENGTH,
    MAX_MASK_POINTS,
    Mask,
    camera_id,
    camera_name,
)

FOLDER_BYTES = st.binary(min_size=1, max_size=255).filter(lambda name: not set(name) & {0, ord("/")})
NON_LATIN = st.text(
    st.characters(min_codepoint=0x0400, max_codepoint=0x9FFF, categories=["Ll", "Lo"]), min_size=1, max_size=20
)


@given(FOLDER_BYTES)
def test_every_folder_name_becomes_a_safe_id_and_always_the_same(name: bytes) -> None:
    folder = os.fsdecode(name)
    made = camera_id(folder)
    assert re.fullmatch(rf"[a-z0-9_]{{1,{MAX_CAMERA_ID_LENGTH}}}", made)
    assert camera_id(folder) == made


@given(FOLDER_BYTES)
def test_an_id_is_the_id_of_itself(name: bytes) -> None:
    made = camera_id(os.fsdecode(name))
    assert re.sub("_+", "_", made) == camera_id(made)


@given(NON_LATIN, NON_LATIN)
def test_different_non_latin_names_never_share_an_id(one: str, other: str) -> None:
    if one != other:
        assert camera_id(one) != camera_id(other)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("front_door", "front_door"),
        ("Front Door", "front_door"),
        ("front-door", "front_door"),
        ("  Garage (2)!", "garage_2"),
        ("Café", "cafe"),
        ("a" * 64, "a" * 64),
    ],
)
def test_a_latin_name_is_kept_readable(folder: str, expected: str) -> None:
    assert camera_id(folder) == expected


@pytest.mark.parametrize(("folder", "prefix"), [("前門", "camera_"), ("Hof 前", "hof_"), ("a" * 65, "a" * 55 + "_")])
def test_what_does_not_fit_keeps_a_readable_prefix_and_a_digest(folder: str, prefix: str) -> None:
    assert re.fullmatch(f"{prefix}[0-9a-f]{{8}}", camera_id(folder))


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("front_door", "Front door"),
        ("Back-Yard  left", "Back Yard left"),
        ("前門", "前門"),
        ("evil\nname", "Evil name"),
        ("right\u202eto left", "Rightto left"),
    ],
)
def test_a_name_for_people_has_words_and_no_control_characters(folder: str, expected: str) -> None:
    assert camera_name(folder) == expected


@given(FOLDER_BYTES)
def test_every_folder_name_gives_a_name_that_can_be_shown_and_stored(name: bytes) -> None:
    shown = camera_name(os.fsdecode(name))
    assert shown
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "3 to 64 points"),
        ([(0.1, 0.1), (0.2, 0.2)], "3 to 64 points"),
        ([(number / 100, number * number / 10_000) for number in range(MAX_MASK_POINTS + 1)], "3 to 64 points"),
        ([(0, 0), (1, 0), (1, 1.01)], "between 0"),
        ([(-0.01, 0), (1, 0), (1, 1)], "between 0"),
        ([(float("nan"), 0), (1, 0), (1, 1)], "between 0"),
        ([(0, 0), (1, 1), (1, 0), (0, 1)], "crosses"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(points: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mask(tuple(points))
