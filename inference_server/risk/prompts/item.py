# SPDX-License-Identifier: AGPL-3.0-or-later
"""Items: the lines that fill a prompt's sections, each with an id that an answer can cite."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """One line of evidence."""

    id: str
    """A letter of its kind and a number: T1."""
    text: str
    factor: str | None = None
    """The rules' factor that it tells of, where it does."""

    def __post_init__(self) -> None:
        """Raise ValueError for more than one line: text from outside is quoted before it gets here."""
        if not self.text or not self.text.isprintable():
            raise ValueError(f"the item {self.id} is not one line that can be shown")

    @property
    def line(self) -> str:
        """The line as it is told."""
        return f"{self.id} {self.text}"


def numbered(letter: str, texts: Iterable[str]) -> tuple[Item, ...]:
    """Return texts as items of a kind: T1, T2 and so on."""
    return tuple(Item(f"{letter}{number}", text) for number, text in enumerate(texts, 1))


def listed(texts: Sequence[str], most: int, kind: str) -> list[str]:
    """Return the first so many texts, and how many more there are: a street full of cars is no longer prompt."""
    rest = len(texts) - most
    return list(texts) if rest <= 0 else [*texts[:most], f"{rest} more {kind}, not listed."]
