# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opinions: what they need, and what is none."""

import pytest

from inference_server.core.assessment import RiskLevel
from inference_server.core.feedback import MAX_NAME, MAX_NOTE, FeedbackKind, Opinion


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda: Opinion(FeedbackKind.WRONG_SEVERITY), "needs the level"),
        (lambda: Opinion(FeedbackKind.CORRECT, RiskLevel.LOW), "has no level"),
        (lambda: Opinion(FeedbackKind.MISSED, RiskLevel.LOW), "is not low"),
        (lambda: Opinion(FeedbackKind.KNOWN_PERSON), "have a name"),
        (lambda: Opinion(FeedbackKind.FALSE_ALARM, name="Bob"), "have a name"),
        (lambda: Opinion(FeedbackKind.KNOWN_PERSON, name=" "), "name has 1 to"),
        (lambda: Opinion(FeedbackKind.KNOWN_PERSON, name="Bob\0"), "name has 1 to"),
        (lambda: Opinion(FeedbackKind.KNOWN_VEHICLE, name="x" * (MAX_NAME + 1)), "name has 1 to"),
        (lambda: Opinion(FeedbackKind.CORRECT, by="\ud800"), "by has 1 to"),
        (lambda: Opinion(FeedbackKind.CORRECT, note="\x1b[2J"), "a note has"),
        (lambda: Opinion(FeedbackKind.CORRECT, note="x" * (MAX_NOTE + 1)), "a note has"),
    ],
)
def test_what_is_no_opinion(wrong: object, reason: str) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=reason):
        wrong()


def test_a_note_may_have_lines_and_any_script() -> None:
    opinion = Opinion(FeedbackKind.MISSED, RiskLevel.CRITICAL, note="Er stand am Tor.\n彼は門にいた。", by="Anna")
    assert opinion.note.count("\n") == 1
