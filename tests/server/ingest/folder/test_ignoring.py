# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which files the owner's patterns leave alone."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.ingest.folder.ignoring import IgnorePatterns, IgnoreRules

NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=20)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)
PLAIN = st.text("abcXYZ0189 ._-äÖéß", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("*thumb*", "2026/11/Thumbnail_1.jpg", True),
        ("*thumb*", "thumbs/1.jpg", True),
        ("*thumb*", "2026/1.jpg", False),
        ("thumbs", "2026/thumbs/1.jpg", True),
        ("thumbs/", "2026/thumbs/1.jpg", True),
        ("thumbs", "2026/thumbs2/1.jpg", False),
        ("*/DVRWorkDirectory", "2026/dvrworkdirectory/1.jpg", True),
        ("*/DVRWorkDirectory", "DVRWorkDirectory/1.jpg", True),
        ("*/DVRWorkDirectory", "2026/DVRWorkDirectory2/1.jpg", False),
        ("/snap", "snap/1.jpg", True),
        ("/snap", "2026/snap/1.jpg", False),
        ("2026-11-23/001/jpg", "2026-11-23/001/jpg/15/45/01[M][0@0][0].jpg", True),
        ("2026-11-23/*/*.jpg", "2026-11-23/001/jpg/15/45/1.jpg", True),
        ("2026-11-23/*/*.jpg", "2026-11-24/001/jpg/15/45/1.jpg", False),
        ("*[M]*", "a/01[x].jpg", False),
        ("?.jpg", "a/1.jpg", True),
        ("?.jpg", "a/12.jpg", False),
        ("[", "a/[", True),
        ("EINFAHRT", "einfahrt/1.jpg", True),
        ("Tür", unicodedata.normalize("NFD", "tür") + "/1.jpg", True),
        ("*", "a/1.jpg", True),
        ("thumbs/*", "2026/thumbs/1.jpg", False),
        ("*/thumbs/*", "2026/thumbs/1.jpg", True),
        ("2026/*", "2026/11/23/1.jpg", True),
        ("1.jpg", "11.jpg", False),
    ],
)
def test_a_pattern_is_compared_with_names_or_with_paths(pattern: str, path: str, ignored: bool) -> None:
    assert IgnorePatterns([pattern]).match(path) is ignored
    assert IgnorePatterns(["never", pattern, "not/this"]).match(path) is ignored


@given(st.lists(st.text(max_size=40), max_size=5), PATHS)
def test_any_text_is_a_pattern(patterns: list[str], path: str) -> None:
    assert IgnorePatterns(patterns).match(path) in {True, False}


@given(PLAIN, PATHS)
def test_a_name_ignores_itself_in_any_case_wherever_it_is_and_all_in_it(name: str, path: str) -> None:
    rules = IgnorePatterns([name.upper() if len(name.upper()) == len(name) else name])
    assert rules.match(name)
    assert rules.match(f"{name}/{path}")
    assert rules.match(f"{path}/{name}")


@given(st.lists(st.text(max_size=20), max_size=4), st.lists(NAMES, min_size=2, max_size=5))
def test_what_lies_in_an_ignored_folder_is_ignored(patterns: list[str], parts: list[str]) -> None:
    rules = IgnorePatterns(patterns)
    if rules.match("/".join(parts[:-1])):
        assert rules.match("/".join(parts))


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not IgnorePatterns(["*a" * 100]).match("a" * 99 + "/" + "a" * 99 + "b")


def test_a_camera_has_the_patterns_for_all_and_its_own() -> None:
    rules = IgnoreRules(["*.png"], lambda camera_id: {"front_door": ["*thumb*"]}.get(camera_id, []))
    assert rules.ignore("Front Door/thumb.jpg")
    assert rules.ignore("Front Door/1.png")
    assert rules.ignore("back/1.png")
    assert not rules.ignore("back/thumb.jpg")


def test_a_camera_s_patterns_count_as_they_are_now() -> None:
    patterns = ["*thumb*"]
    rules = IgnoreRules([], lambda _: tuple(patterns))
    assert rules.ignore("front/thumb.jpg")
    patterns[:] = ["*small*"]
    assert not rules.ignore("front/thumb.jpg")
    assert rules.ignore("front/small.jpg")


def test_a_camera_s_own_folder_and_files_without_one_are_never_ignored() -> None:
    rules = IgnoreRules(["*"])
    assert not rules.ignore("front")
    assert not rules.ignore("1.jpg")
    assert rules.ignore("front/1.jpg")
