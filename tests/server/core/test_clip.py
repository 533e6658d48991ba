# SPDX-License-Identifier: AGPL-3.0-or-later
"""Videos are known by their content."""

import pytest

from inference_server.core.clip import VIDEO_HEAD_BYTES, VideoKind, video_kind
from tests.support.pictures import archive, jpeg, png
from tests.support.videos import box, sound, video


@pytest.mark.parametrize("kind", list(VideoKind))
def test_each_kind_is_known_by_its_beginning(kind: VideoKind) -> None:
    content = video(kind.value, "libvpx-vp9" if kind is VideoKind.WEBM else "mpeg4", seconds=0.3)
    assert video_kind(content[:VIDEO_HEAD_BYTES]) is kind
    assert kind.content_type.startswith("video/")


def test_an_old_quicktime_begins_with_any_box() -> None:
    assert video_kind(box(b"wide") + box(b"mdat", b"...")) is VideoKind.MOV


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        jpeg(),
        png(),
        archive(),
        b"<!DOCTYPE html><title>404</title>",
        b"#EXTM3U\n#EXTINF:1,\nhttp://192.0.2.1/1.ts\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"G" + b"\0" * 187,
        box(b"ftyp", b"heic\0\0\0\0mif1heic"),
        box(b"ftyp", b"avif\0\0\0\0avif"),
    ],
)
def test_everything_else_is_no_video(content: bytes) -> None:
    assert video_kind(content[:VIDEO_HEAD_BYTES]) is None


def test_sound_in_the_container_of_a_video_shows_only_when_it_is_opened() -> None:
    assert video_kind(sound()[:VIDEO_HEAD_BYTES]) is VideoKind.MP4
