# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a model is told who says what: by the template in its file, else by the format that its vocabulary shows.

Each text is turned into tokens for itself, and only what the template adds may be signs of control: a text cannot end
its own part, whatever it holds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

THINK = "<think>"
THOUGHT = "</think>"

type Turns = Sequence[tuple[str, str]]
"""Pairs of role (system, user, assistant) and text."""
type Render = Callable[[Turns, bool], str]
"""Returns a conversation as a template writes it, up to where the answer begins; told whether the model may think."""


class TemplateError(Exception):
    """A template cannot write a conversation."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of what the model reads. Of what the template added, `trusted`, signs of control are taken as such."""

    text: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the model reads, and how much of it, in parts, comes before the first text that is not the system's."""

    parts: tuple[Part, ...]
    prefix_parts: int
    thinks: bool
    """Whether the answer begins with a thought."""


def conversation(turns: Turns, render: Render, *, thinking: bool) -> Conversation:
    """Return what a model reads. Raises TemplateError."""
    try:
        return _cut(turns, render, thinking=thinking)
    except TemplateError:
        return _cut(_merged(turns), render, thinking=thinking)


def _cut(turns: Turns, render: Render, *, thinking: bool) -> Conversation:
    """Let the template write marks in the place of the texts, and put these in between."""
    marks = [f"\ue000{number}\ue001" for number in range(len(turns))]
    try:
        written = render([(role, mark) for (role, _), mark in zip(turns, marks, strict=True)], thinking)
    except Exception as error:  # a template is a program of whoever made the model
        raise TemplateError(f"{type(error).__name__}: {error}") from error
    parts: list[Part] = []
    for (_, text), mark in zip(turns, marks, strict=True):
        before, found, written = written.partition(mark)
        if not found or mark in written:
            raise TemplateError("it leaves texts out, turns them round or repeats them")
        parts += [Part(before, trusted=True), Part(text, trusted=False)]
    if any(mark in written for mark in marks):
        raise TemplateError("it leaves texts out, turns them round or repeats them")
    thinks = written.rstrip().endswith(THINK)
    if thinks and not thinking:
        written, thinks = f"{written.rstrip()}{THOUGHT}", False
    parts.append(Part(written, trusted=True))
    return Conversation(tuple(parts), 3 if turns[0][0] == "system" and len(turns) > 1 else 1, thinks)


def _merged(turns: Turns) -> Turns:
    """Return a conversation for a template that knows no system: its text goes before the first one of the user."""
    if len(turns) < 2 or turns[0][0] != "system":
        return turns
    return [("user", f"{turns[0][1]}\n\n{turns[1][1]}"), *turns[2:]]


def chatml(turns: Turns, _thinking: bool) -> str:
    """Write a conversation in ChatML, which most models know."""
    said = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)
    return f"{said}<|im_start|>assistant\n"


def nemotron_mini(turns: Turns, _thinking: bool) -> str:
    """Write a conversation as Nemotron Mini 4B Instruct wants it (its model card, "Prompt Format")."""
    return "".join(_nemotron_turns(turns)) + "<extra_id_1>Assistant\n"


def _nemotron_turns(turns: Turns) -> Iterator[str]:
    if turns[0][0] != "system":
        yield "<extra_id_0>System\n\n"
    for role, text in turns:
        if role == "system":
            yield f"<extra_id_0>System\n{text}\n\n"
        else:
            yield f"<extra_id_1>{role.capitalize()}\n{text}\n"
