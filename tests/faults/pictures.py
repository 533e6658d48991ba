# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures that say themselves what is to become of them: the number in the picture and in the file's name tells."""

import random
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from inference_server.core.detection import Box, Detection, Label
from tests.support.pictures import plain_png

CAMERAS = 6


class Kind(IntEnum):
    """What is to be seen in a picture, or what goes wrong with it."""

    EMPTY = 0
    PERSON = 1
    TWO_PEOPLE = 2
    CAR = 3
    CORRUPT = 4
    """Ends too early: is refused."""
    UNJUDGEABLE = 5
    """The detector fails at it for good: becomes a dead letter."""
    DIFFICULT = 6
    """A person, at which each process fails once: is tried again."""


WEIGHTS = {
    Kind.EMPTY: 20,
    Kind.PERSON: 40,
    Kind.TWO_PEOPLE: 20,
    Kind.CAR: 12,
    Kind.CORRUPT: 3,
    Kind.UNJUDGEABLE: 2,
    Kind.DIFFICULT: 3,
}
"""How often each kind comes, of a hundred."""
REPEATED = 0.03
"""The share of pictures that come a second time, under another name."""

_PERSON = Detection(Label.PERSON, 0.9, Box(4, 4, 12, 30))
_SEEN: dict[Kind, tuple[Detection, ...]] = {
    Kind.PERSON: (_PERSON,),
    Kind.TWO_PEOPLE: (_PERSON, Detection(Label.PERSON, 0.8, Box(40, 4, 12, 30))),
    Kind.CAR: (Detection(Label.CAR, 0.7, Box(10, 20, 40, 20)),),
    Kind.DIFFICULT: (_PERSON,),
}


def kind_of(number: int) -> Kind:
    """Return the kind of a picture."""
    return Kind(number & 15)


def camera_of(number: int) -> str:
    """Return the folder of a picture: ten pictures of a camera follow each other."""
    return f"camera_{(number >> 4) // 10 % CAMERAS}"


def seen_in(number: int) -> tuple[Detection, ...]:
    """Return what a detector sees in a picture."""
    return _SEEN.get(kind_of(number), ())


def number_of(path: str) -> int:
    """Return the number in a file's name."""
    return int(Path(path).stem.split("-")[0])


def content_of(number: int) -> bytes:
    """Return the file."""
    content = plain_png(number)
    return content[:-30] if kind_of(number) is Kind.CORRUPT else content


@dataclass
class Cameras:
    """Writes pictures into the folders of cameras, as FTP servers do: at once, or renamed when they are complete."""

    root: Path
    random: random.Random
    written: int = 0
    _last: dict[str, int] = field(default_factory=dict)

    def send(self, count: int, kind: Kind | None = None) -> None:
        """Write so many pictures, of random kinds or of this one."""
        for _ in range(count):
            if self._last and self.random.random() < REPEATED:
                number = self.random.choice(list(self._last.values()))
                self._write(number, f"{number:07}-{self.written}.png")
                continue
            chosen = kind if kind is not None else self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            number = self.written << 4 | chosen
            self._write(number, f"{number:07}.png")
            if chosen is not Kind.CORRUPT:
                self._last[camera_of(number)] = number

    def _write(self, number: int, name: str) -> None:
        target = self.root / camera_of(number) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.random.random() < 0.5:
            target.write_bytes(content_of(number))
        else:
            partial = target.with_suffix(".part")
            partial.write_bytes(content_of(number))
            partial.rename(target)
        self.written += 1

    def files(self) -> set[str]:
        """Return the paths of all pictures, below the root."""
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*.png")}
