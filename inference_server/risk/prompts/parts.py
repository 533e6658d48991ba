# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a prompt of each kind may be made of: its sections, its variables, and which of them it needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from inference_server.core.prompt import PromptKind


@dataclass(frozen=True, slots=True)
class SectionPart:
    """A section that a prompt of a kind may have. A core one it must have, and it is never left out."""

    description: str
    core: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """What a prompt of one kind may be made of, by id or name."""

    sections: Mapping[str, SectionPart]
    prefix_variables: Mapping[str, str]
    """Those of the prefix, each with what it stands for: they are the same for every event."""
    task_variables: Mapping[str, str]
    """Those that the task may have besides."""


_LEVELS = {
    "low": "the scores of the level low, such as 0-29",
    "medium": "the scores of the level medium",
    "high": "the scores of the level high",
    "critical": "the scores of the level critical",
}

PARTS: Mapping[PromptKind, Parts] = {
    PromptKind.ANALYST: Parts(
        sections={
            "time": SectionPart("W: weekday, time, night, sun"),
            "home": SectionPart("H: the owner's mode, who is at home, the alarm, quiet hours; what is unknown"),
            "camera": SectionPart("C: the camera, what it looks at, how long the event lasted"),
            "objects": SectionPart("T: each object, its stay and its way; Z: zones and lines", core=True),
            "observations": SectionPart("O: what objects do, wear and carry"),
            "identity": SectionPart("I: whom objects are known to be"),
            "earlier": SectionPart("S: stays and visits before"),
            "elsewhere": SectionPart("X: what other cameras saw shortly before"),
            "baseline": SectionPart("B: what is usual at this hour, and what was seen"),
            "view": SectionPart("V: cameras that do not see well, or were touched"),
            "feedback": SectionPart("L: what the owner's feedback on similar events says"),
            "rules": SectionPart("F: the factors of the rules", core=True),
        },
        prefix_variables={**_LEVELS, "more_factors": "names of factors that the analyst may add to those of the rules"},
        task_variables={
            "camera": "the camera's name, quoted",
            "rules_score": "the score of the rules",
            "rules_level": "its level",
        },
    ),
    PromptKind.SUMMARY: Parts(
        sections={
            "counts": SectionPart("N: how many events of each level; what was not judged", core=True),
            "incidents": SectionPart("I: incidents, the most serious first"),
            "events": SectionPart("E: events, the most serious first"),
            "cameras": SectionPart("C: events by camera"),
            "unusual": SectionPart("B: more than usual"),
        },
        prefix_variables=_LEVELS,
        task_variables={"period": "the hour or day, such as Monday, 14:00 to 15:00"},
    ),
}
