# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model says, held to what is known: a sentence that tells of something else is left out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from inference_server.core.assessment import RiskLevel
from inference_server.risk.evidence import Evidence
from inference_server.risk.prompts.item import Item
from inference_server.risk.vocabulary import ALARMED, CALM, CLAIMS, LEVEL, LEVELS, NOT_THERE, PLACES, counts_in

_SENTENCES = re.compile(r"(?<=[.!?;])\s+|\n+")
_CITED = re.compile(r"\b[WHCTZOISXBVLF]\d{1,3}\b")
_EMPTY = re.compile(r"\(\s*(?:[,;]|and|\s)*\)")
_NAME = re.compile(r'"([^"]+)"')
_SHORT = re.compile(r"\w{1,20}(?: \w{1,20}){0,2}")
"""A name that may be told without quotes."""
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")  # noqa: RUF001 - an apostrophe
_NUMBER = re.compile(r"\d+(?:[.:,]\d+)*")
_MARKUP = re.compile(r"[<>{}\[\]|\\`*#]|https?:|www\.", re.IGNORECASE)
_NAMING = frozenset("CZIXV")
"""The letters of evidence that quotes names."""
_FEWEST_WORDS = 2


class Fault(Enum):
    """Why a sentence is left out."""

    INVENTED = "invented"
    """It tells of what nobody detected."""
    CONTRADICTION = "contradiction"
    """It goes against the score or against what is certain."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What is left of a text, "" if nothing, and what was wrong with the rest."""

    text: str
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a text may tell of an event."""

    evidence: Evidence
    items: Sequence[Item]
    score: int
    """The final one."""
    level: RiskLevel
    words: frozenset[str] = field(init=False)
    numbers: frozenset[str] = field(init=False)
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Gather the words, numbers and names of the evidence. What a name holds counts where the name is short."""
        quoting = [item.text for item in self.items if item.id[0] in _NAMING]
        names = {name for text in quoting for name in _NAME.findall(text)}
        short = [name for name in names if _SHORT.fullmatch(name)]
        told = " ".join([*(_NAME.sub(" ", item.text) for item in self.items), *short])
        object.__setattr__(self, "words", frozenset(word.lower() for word in _WORD.findall(told)))
        object.__setattr__(self, "numbers", frozenset(_NUMBER.findall(told)))
        object.__setattr__(self, "names", tuple(sorted(names, key=len, reverse=True)))


def check(text: str, facts: Facts) -> Checked:
    """Return a text without the sentences that are not borne out."""
    kept: list[str] = []
    faults: list[Fault] = []
    for sentence in _SENTENCES.split(_plain(text)):
        if not sentence.strip():
            continue
        fault = _fault(sentence, facts)
        if fault is None:
            kept.append(sentence.strip())
        else:
            faults.append(fault)
    return Checked(" ".join(kept), tuple(faults))


def without_ids(text: str) -> str:
    """Return a text without the ids that it cites: they mean nothing to its reader."""
    return " ".join(_EMPTY.sub("", _CITED.sub("", text)).split()).replace(" .", ".").replace(" ,", ",")


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def _fault(sentence: str, facts: Facts) -> Fault | None:
    if any(cited not in {item.id for item in facts.items} for cited in _CITED.findall(sentence)):
        return Fault.INVENTED
    said = _CITED.sub(" ", sentence)
    for name in facts.names:
        said = said.replace(f'"{name}"', " ")
    if _MARKUP.search(said) or len(_WORD.findall(without_ids(sentence))) < _FEWEST_WORDS:
        return Fault.INVENTED
    if _contradicts(said, facts):
        return Fault.CONTRADICTION
    return Fault.INVENTED if _invents(said, facts) else None


def _contradicts(said: str, facts: Facts) -> bool:
    if NOT_THERE.search(said) and "home" not in said.lower():
        return True
    if CALM.search(said):
        return facts.level is not RiskLevel.LOW
    if ALARMED.search(said):
        return facts.level.rank < RiskLevel.HIGH.rank
    if any(LEVELS[(found["before"] or found["after"]).lower()] is not facts.level for found in LEVEL.finditer(said)):
        return True
    return bool(re.search(r"\bsuspicious", said, re.IGNORECASE)) and facts.level is RiskLevel.LOW


def _invents(said: str, facts: Facts) -> bool:
    if any(pattern.search(said) and not holds(facts.evidence) for pattern, holds in CLAIMS):
        return True
    if any(not _is_named(place, facts) for place in PLACES.findall(said)):
        return True
    labels = [subject.track.label for subject in facts.evidence.subjects]
    counted = set()
    for count in counts_in(said):
        number = sum(label in count.labels for label in labels)
        if not count.at_least <= number <= count.at_most:
            return True
        counted.add(str(count.at_least))
    known_numbers = facts.numbers | counted | {str(facts.score)}
    if any(number not in known_numbers for number in _NUMBER.findall(said)):
        return True
    return any(_is_foreign(word, facts) for word in _later_words(said))


def _is_named(place: str, facts: Facts) -> bool:
    stem = place.lower().replace("-", "").rstrip("s").removesuffix("ie").removesuffix("y")
    return any(word.replace("-", "").startswith(stem[:5]) for word in facts.words)


def _later_words(said: str) -> list[str]:
    """Return the words by which a name may be known: capitalised ones after the first, and those beyond ASCII."""
    words = _WORD.findall(said)
    return [
        word
        for number, word in enumerate(words)
        if not word.isascii() or (number and word[0].isupper() and word != "I")
    ]


def _is_foreign(word: str, facts: Facts) -> bool:
    plain = word.lower().removesuffix("'s").removesuffix("’s")  # noqa: RUF001 - an apostrophe
    return plain not in facts.words
