# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far the analyst may move the rules' score: 20 points, and further only where evidence speaks for it.

Below what threats weigh by themselves a score never falls: no model hides a weapon.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inference_server.core.assessment import MAX_SCORE, Assessment
from inference_server.core.observation import Observed
from inference_server.risk.prompts.item import Item
from inference_server.risk.rules import FACTOR_NAMES
from inference_server.risk.subject_rules import THREAT_FACTORS
from inference_server.risk.verdict import OWN_FACTORS, Claim, Direction

FREE = 20
"""Points that the analyst may move a score without naming anything."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How many points beyond FREE a factor allows, if the rules found it and those beside it."""

    further: int
    beside: frozenset[str] = frozenset()


UPWARD: Mapping[str, Reach] = {
    **{name: Reach(40) for name in THREAT_FACTORS},
    "alarm_triggered": Reach(30),
    "in_restricted": Reach(30, frozenset({"person_at_night", "nobody_home"})),
    "camera_tampered": Reach(25),
    "hiding": Reach(20),
    "peering": Reach(20),
    "lying": Reach(20),
    "face_covered": Reach(15),
    "repeat_visits": Reach(15),
    "watched": Reach(15),
    "lingering": Reach(10),
    "came_closer": Reach(10),
}
"""What lets a score rise further. A place the owner forbids counts at night with nobody at home."""

DOWNWARD: Mapping[str, Reach] = {
    "trusted": Reach(40),
    "partly_trusted": Reach(20),
    "leaves_parcel": Reach(20),
    "indoors_with_household": Reach(20),
    "carries_parcel": Reach(15),
    "guests_expected": Reach(15),
    "child": Reach(15),
    "uniform": Reach(10),
    "only_on_sidewalk": Reach(10),
    "on_street": Reach(10),
    "usual": Reach(10),
}
"""What lets a score fall further, where there is no threat."""

_OBSERVED = {kind.value: "O" for kind in Observed}
LETTERS: Mapping[str, str] = {
    **dict.fromkeys(FACTOR_NAMES, "T"),
    **dict.fromkeys(("person_at_night", "vehicle_at_night", "after_dark"), "W"),
    **dict.fromkeys(("quiet_hours", "nobody_home", "guests_expected", "alarm_triggered"), "H"),
    **dict.fromkeys(("in_restricted", "in_entry", "in_yard", "in_driveway", "loitering_in_zone"), "Z"),
    **dict.fromkeys(("only_on_sidewalk", "line_crossed"), "Z"),
    **dict.fromkeys(("indoors_nobody_home", "indoors_with_household"), "HC"),
    **dict.fromkeys(("watched", "trusted", "partly_trusted"), "I"),
    **dict.fromkeys(("unusual", "usual"), "B"),
    "on_street": "C",
    "lingering": "TS",
    "came_closer": "X",
    "repeat_visits": "S",
    "camera_tampered": "V",
    "learnt": "L",
    **_OBSERVED,
}
"""The letters of the evidence that a factor of the rules rests on, besides the line of the factor itself."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """A score within its bounds, and the claims that hold."""

    score: int
    lowest: int
    highest: int
    claims: tuple[Claim, ...]
    contradicted: bool
    """Whether the score went against the analyst's own reasons, so that the rules' stands."""


def bounded(score: int, rules: Assessment, claims: Iterable[Claim], items: Sequence[Item]) -> Bounded:
    """Return the analyst's score as far as it may count. `items` are the lines of evidence that were told."""
    present = {factor.name for factor in rules.factors}
    by_id = {item.id: item for item in items}
    held = tuple(dict.fromkeys(claim for claim in claims if _holds(claim, present, by_id.get(claim.evidence))))
    threats = sum(factor.points for factor in rules.factors if factor.name in THREAT_FACTORS and factor.points > 0)
    down = 0 if threats else _further(held, DOWNWARD, present)
    lowest = max(rules.score - FREE - down, min(threats, rules.score), 0)
    highest = min(rules.score + FREE + _further(held, UPWARD, present), MAX_SCORE)
    contradicted = _goes_against(score - rules.score, held)
    wanted = rules.score if contradicted else score
    return Bounded(max(lowest, min(highest, wanted)), lowest, highest, held, contradicted)


def _holds(claim: Claim, present: set[str], item: Item | None) -> bool:
    """Return whether a claim names a factor that is there, or one of the analyst's own, and evidence for it."""
    if item is None:
        return False
    if own := OWN_FACTORS.get(claim.name):
        return item.id[0] in own.letters
    return claim.name in present and (item.factor == claim.name or item.id[0] in LETTERS.get(claim.name, ""))


def _further(held: Iterable[Claim], table: Mapping[str, Reach], present: set[str]) -> int:
    reaches = (table[claim.name] for claim in held if claim.name in table)
    return max((reach.further for reach in reaches if reach.beside <= present), default=0)


def _goes_against(move: int, held: Sequence[Claim]) -> bool:
    """Return whether a score moves one way while every factor of the analyst's own speaks for the other."""
    ways = {OWN_FACTORS[claim.name].direction for claim in held if claim.name in OWN_FACTORS}
    return (move > 0 and ways == {Direction.DOWN}) or (move < 0 and ways == {Direction.UP})
