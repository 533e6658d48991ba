# SPDX-License-Identifier: AGPL-3.0-or-later
"""Finished pictures are known by their names."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.ingest.folder.names import (
    EXTENSIONS,
    SETTLED_SECONDS,
    is_candidate,
    is_path_wanted,
    settled_seconds,
)

TEMPORARY = (".tmp", ".part", ".partial", ".filepart", ".upload", "~", ".crdownload", ".TMP", ".jpg.tmp")


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a/1.jpg", True),
        ("a/1.JPEG", True),
        ("a/1.png", True),
        ("a/2026/11/23/1.jpg", True),
        ("1.jpg", True),
        ("a/.1.jpg", False),
        (".a/1.jpg", False),
        ("a/1.txt", False),
        ("a/jpg", False),
        ("a/.jpg", False),
        ("a/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", False),
        ("#recycle/a/1.jpg", False),
        ("$RECYCLE.BIN/1.jpg", False),
        ("lost+found/1.jpg", False),
    ],
)
def test_a_finished_picture_is_known_by_its_path(path: str, wanted: bool) -> None:
    assert is_path_wanted(path) is wanted


@pytest.mark.parametrize("ending", TEMPORARY)
@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
def test_an_upload_under_way_is_no_picture_yet(extension: str, ending: str) -> None:
    assert is_candidate(f"1{extension}")
    assert not is_candidate(f"1{extension}{ending}")


@given(st.text(st.characters(blacklist_characters="/\0"), min_size=1, max_size=255))
def test_any_name_is_judged_by_its_ending_and_its_first_letter(name: str) -> None:
    expected = PurePosixPath(name).suffix.lower() in EXTENSIONS and not name.startswith(".")
    assert is_candidate(name) is expected
    assert is_candidate(name + ".jpg") is (not name.startswith("."))
    assert not is_candidate("." + name)


def test_a_video_rests_longer_than_a_picture() -> None:
    assert settled_seconds("front/1.MP4") > settled_seconds("front/1.jpg") == SETTLED_SECONDS
