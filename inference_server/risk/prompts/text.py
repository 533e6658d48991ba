# SPDX-License-Identifier: AGPL-3.0-or-later
"""A prompt's text, a TOML document of its owner's: read and checked before it is stored and before it is used."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference_server.core.prompt import PromptKind
from inference_server.risk.prompts.parts import PARTS

MOST_CHARACTERS = 24_000
"""Of a whole document."""
LONG_PREFIX = 6_000
"""Characters from which a prefix is long for a small model."""
_ANCHORS = 4
"""Ranges of scores that a prefix should name."""

_VARIABLE = re.compile(r"\{(\w*)\}")
_RANGE = re.compile(r"\b\d{1,3}\s*(?:-|–|to)\s*\d{1,3}\b")  # noqa: RUF001 - the dash of a range
_CHAT_SIGN = re.compile(r"<\|[^|\n]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<extra_id_\d+>")
_LINE = re.compile(r"\(at line (\d+)")


class PromptError(Exception):
    """A text is no prompt. `line` is where, counted from 1, where that is one place; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str, line: int | None = None) -> None:
        """Take what is wrong, what to do, and where it is."""
        super().__init__(f"line {line}: {message}" if line else message)
        self.remedy = remedy
        self.line = line


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: Annotated[str, Field(min_length=1, max_length=80)]
    usefulness: Annotated[int, Field(ge=0, le=100)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=60)]
    prefix: Annotated[str, Field(min_length=1)]
    task: Annotated[str, Field(min_length=1)]
    section: Annotated[tuple[_Section, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class PromptSection:
    """A section of a prompt: the one with the least usefulness, 0 to 100, is left out first."""

    id: str
    title: str
    usefulness: int
    core: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """A checked prompt."""

    kind: PromptKind
    name: str
    prefix: str
    task: str
    sections: tuple[PromptSection, ...]
    """In the order in which they are told."""
    warnings: tuple[str, ...] = ()
    """What may be used and is perhaps not meant."""


def read_prompt(kind: PromptKind, text: str) -> Prompt:
    """Return the prompt that a text means. Raises PromptError."""
    text = text.replace("\r\n", "\n")
    _check_shown(text, 1)
    document = _document(text)
    for name in ("name", "prefix", "task"):
        _check_shown(getattr(document, name), None, name)
    if not document.name.strip() or "\n" in document.name:
        raise PromptError("the name is not one line", "Name it in letters.", _line_of(text, "name"))
    parts = PARTS[kind]
    _check_variables(text, document.prefix, parts.prefix_variables, "the prefix, which is the same for every event,")
    _check_variables(text, document.task, {**parts.prefix_variables, **parts.task_variables}, "the task")
    sections = tuple(_sections(kind, text, document))
    return Prompt(
        kind=kind,
        name=document.name.strip(),
        prefix=document.prefix.strip(),
        task=document.task.strip(),
        sections=sections,
        warnings=tuple(_warnings(kind, document, sections)),
    )


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a text with each variable's value in its place, in one pass: what a value holds is no variable."""
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def _document(text: str) -> _Document:
    if len(text) > MOST_CHARACTERS:
        raise PromptError(
            f"the text has {len(text)} characters; a prompt has at most {MOST_CHARACTERS}", "Say it in fewer words."
        )
    try:
        return _Document.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        found = _LINE.search(str(error))
        message = str(error).partition(" (at ")[0]
        raise PromptError(f"this is no TOML: {message}", _EXAMPLE, int(found[1]) if found else None) from error
    except (RecursionError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise PromptError("this is no TOML that can be read", _EXAMPLE) from error
        first = error.errors()[0]
        where = ".".join(str(step)[:40] for step in first["loc"])
        raise PromptError(f"{where}: {first['msg'][:200]}", _EXAMPLE, _line_at(text, first["loc"])) from error


_EXAMPLE = "Take a shipped prompt as an example (hsi prompts show analyst); docs/prompts.md explains it."


def _check_shown(text: str, first_line: int | None, where: str = "") -> None:
    """Raise PromptError for what nobody sees; escapes of TOML bring it in too, in lines that nobody can count."""
    for number, line in enumerate(text.split("\n")):
        if wrong := next((sign for sign in line if not sign.isprintable() and sign != "\t"), None):
            message = f"{f'{where}: ' if where else ''}the character U+{ord(wrong):04X} cannot be shown"
            raise PromptError(message, "Remove it.", first_line and first_line + number)


def _check_variables(text: str, part: str, known: Mapping[str, str], place: str) -> None:
    for found in _VARIABLE.finditer(part):
        if found[1] not in known:
            raise PromptError(
                f"{place} knows no variable {found[0][:60]}",
                f"It may have {', '.join(f'{{{name}}}' for name in known)}.",
                _line_of(text, found[0]),
            )


def _line_at(text: str, steps: tuple[int | str, ...]) -> int | None:
    """Return the line of a field; of a section's, the line where the section begins if the field is not there."""
    match steps:
        case ("section", int(number), *rest):
            begin = _line_of_section(text, number)
            end = _line_of_section(text, number + 1)
            found = _line_of(text, str(rest[0]), begin) if rest else None
            return found if found and (end is None or found < end) else begin
        case (name, *_):
            return _line_of(text, str(name))
    return None


def _line_of_section(text: str, number: int) -> int | None:
    """Return the line where the section of a number, counted from 0, begins."""
    begins = [line for line, content in enumerate(text.split("\n"), 1) if content.strip() == "[[section]]"]
    return begins[number] if number < len(begins) else None


def _sections(kind: PromptKind, text: str, document: _Document) -> Iterator[PromptSection]:
    known = PARTS[kind].sections
    seen: set[str] = set()
    for number, section in enumerate(document.section):
        line = _line_of_section(text, number)
        if section.id not in known:
            raise PromptError(f'there is no section "{section.id[:60]}"', f"Use {', '.join(known)}.", line)
        if section.id in seen:
            raise PromptError(f'the section "{section.id}" is there twice', "Remove one of them.", line)
        if not section.title.isprintable():
            raise PromptError(f'the title of "{section.id}" is not one line', "Write it on one line.", line)
        seen.add(section.id)
        yield PromptSection(section.id, section.title, section.usefulness, known[section.id].core)
    missing = [name for name, part in known.items() if part.core and name not in seen]
    if missing:
        raise PromptError(
            f"the prompt lacks {', '.join(f'the section "{name}"' for name in missing)}, which no prompt is without",
            "Add [[section]] with id, title and usefulness.",
        )


def _warnings(kind: PromptKind, document: _Document, sections: tuple[PromptSection, ...]) -> Iterator[str]:
    if kind is PromptKind.ANALYST and len(_RANGE.findall(document.prefix)) < _ANCHORS:
        yield "The prefix names few ranges of scores: without anchors a model scores as it likes."
    if len(document.prefix) > LONG_PREFIX:
        yield f"The prefix has {len(document.prefix)} characters: small models follow short ones better."
    if "quot" not in document.prefix:
        yield "The prefix does not say that quoted text is data and no instruction."
    if sign := _CHAT_SIGN.search(document.prefix + document.task):
        yield f"{sign[0]} is a sign of a chat format: the model's own template puts those in."
    left = [name for name in PARTS[kind].sections if name not in {section.id for section in sections}]
    if left:
        yield f"It never tells: {', '.join(left)}."


def _line_of(text: str, sought: str, after: int | None = None) -> int | None:
    """Return the first line, counted from 1, that holds something and is no comment; None where none does."""
    for number, line in enumerate(text.split("\n"), 1):
        if number > (after or 0) and sought in line and line.lstrip()[:1] != "#":
            return number
    return None
