# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading the Dockerfile: its stages and their instructions."""

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

from tests.addon.files import ADDON


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined: keyword, flags (`--from=uv`) and the rest."""

    keyword: str
    flags: tuple[str, ...]
    value: str

    @property
    def words(self) -> list[str]:
        """The rest, split as a shell would."""
        return shlex.split(self.value)

    @property
    def parsed(self) -> Any:
        """The rest of an exec form."""
        return json.loads(self.value)


@dataclass(frozen=True)
class Stage:
    """What one FROM begins."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, keyword: str) -> list[Instruction]:
        """Return the instructions with this keyword."""
        return [instruction for instruction in self.instructions if instruction.keyword == keyword]

    def only(self, keyword: str) -> Instruction:
        """Return the one instruction with this keyword."""
        (instruction,) = self.all(keyword)
        return instruction

    @property
    def copied(self) -> list[list[str]]:
        """Sources and target of each COPY from the build context."""
        return [copy.words for copy in self.all("COPY") if not any(flag.startswith("--from") for flag in copy.flags)]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        return dict(word.split("=", 1) for env in self.all("ENV") for word in env.words)


def read_stages() -> list[Stage]:
    """Return the stages of the app's Dockerfile."""
    text = re.sub(r"^#.*\n", "", (ADDON / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[Stage] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        instruction = _instruction(line)
        if instruction.keyword == "FROM":
            base, *name = instruction.words
            stages.append(Stage(base, name[-1] if name else ""))
        else:
            stages[-1].instructions.append(instruction)
    return stages


def _instruction(line: str) -> Instruction:
    keyword, rest = line.split(None, 1)
    flags = []
    while match := re.match(r"(--\S+)\s+", rest):
        flags.append(match[1])
        rest = rest[match.end() :]
    return Instruction(keyword, tuple(flags), rest)
