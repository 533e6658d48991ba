# SPDX-License-Identifier: AGPL-3.0-or-later
"""The estimate of tokens against what real tokenizers made of such lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.risk.prompts.tokens import estimate

SEEN = "T1 person, confidence 0.91; in view for 52 s from 22:13:08, in 9 pictures; speed: slow; "
GARAGE = "\u0414\u0432\u0435\u0440\u044c \u0433\u0430\u0440\u0430\u0436\u0430"
LINES = {
    f"{SEEN}moves from left to middle.": 45,
    "Nearly everything is ordinary. If nothing in the evidence speaks of danger, stay low.": 21,
    'C1 The camera is "0123456789 9876543210 1122334455"; it looks at an entrance.': 46,
    'C1 The camera is "x#y$z%a^b&c*d(e)f_g+h=i~j"; it looks at an entrance.': 39,
    'C1 The camera is "\u7384\u95a2\u306e\u30ab\u30e1\u30e9"; it looks at an entrance.': 25,
    f'C1 The camera is "{GARAGE}"; it looks at an entrance.': 27,
    'C1 The camera is "\U0001f6aa\U0001f3e0\U0001f697"; it looks at an entrance.': 25,
    'F3 person_at_night +15: "it is night (22:14)"\nF4 usual -5: "1 people in this hour, 1.2 expected (6 weeks)"': 48,
}
"""The most tokens of any of SmolLM2's and the vocabularies in llama.cpp's models folder."""


@pytest.mark.parametrize("text", LINES, ids=range(len(LINES)))
def test_no_tokenizer_that_was_asked_needs_more(text: str) -> None:
    assert LINES[text] <= estimate(text) <= 2 * LINES[text]


@given(st.text(max_size=200))
def test_a_tokenizer_that_falls_back_to_bytes_needs_no_more_beyond_ascii(text: str) -> None:
    beyond = "".join(character for character in text if not (character.isascii() or character.isspace()))
    assert estimate(text) >= len(beyond.encode("utf-8", "replace"))


@given(st.text(max_size=100), st.text(max_size=100))
def test_more_text_is_never_fewer_tokens(text: str, more: str) -> None:
    assert estimate(text) <= estimate(f"{text}\n{more}")
