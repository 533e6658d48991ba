# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks that two cameras saw are compared only where both have colour."""

import pytest

from inference_server.detection.appearance import BINS, HUES, LOOK_BYTES, STRIPES, comparable_likeness


def _look(*stripes: int) -> bytes:
    """Return a look whose stripes are all of one bin each."""
    return b"".join(bytes(255 if number == filled else 0 for number in range(BINS)) for filled in stripes)


RED_ON_BLUE, BLUE_ON_RED, GREY = _look(0, 0, 5), _look(5, 5, 0), _look(*[HUES] * STRIPES)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (RED_ON_BLUE, RED_ON_BLUE, 1.0),
        (RED_ON_BLUE, BLUE_ON_RED, 0.0),
        (RED_ON_BLUE, _look(0, HUES, 5), 2 / 3),
        (RED_ON_BLUE, GREY, None),
        (GREY, GREY, None),
        (b"", RED_ON_BLUE, None),
        (bytes(LOOK_BYTES), RED_ON_BLUE, None),
        (RED_ON_BLUE + b"1", RED_ON_BLUE, None),
    ],
)
def test_what_has_no_colour_says_nothing(one: bytes, other: bytes, expected: float | None) -> None:
    likeness = comparable_likeness(one, other)
    assert likeness is None if expected is None else likeness == pytest.approx(expected)
