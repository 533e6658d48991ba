# SPDX-License-Identifier: AGPL-3.0-or-later
"""The seam between who asks a language model and whatever answers: a process of ours, or a server elsewhere."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from inference_server.risk.analyst.schema import JsonSchema

type Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
type Told = Callable[[str], None]
"""Is given the pieces of an answer as they are generated."""

MOST_CHARACTERS = 1 << 20
"""Of all texts of a request together."""
MOST_TOKENS = 1 << 17
MOST_SECONDS = 86_400.0


class ModelError(Exception):
    """There is no answer. `remedy` is a sentence that says what to do; empty where there is nothing to be done."""

    def __init__(self, message: str, remedy: str = "") -> None:
        """Keep the reason and the remedy apart; both are plain sentences."""
        super().__init__(message)
        self.remedy = remedy


class ModelDown(ModelError):
    """The model does not answer now: it is loading, has died or cannot be reached. The same request may work later."""

    def __init__(self, message: str, remedy: str = "", retry_after: float | None = None) -> None:
        """Take also after how many seconds it may be asked again, where that is known."""
        super().__init__(message, remedy)
        self.retry_after = retry_after


class Busy(ModelDown):
    """More requests wait already than may."""


class Refused(ModelError):
    """The model takes no such request, or nobody may ask it: somebody has to change something."""


class TimedOut(ModelError):
    """The answer took too long."""


class BadAnswer(ModelError):
    """The answer does not fit the schema. `text` is what the model said."""

    def __init__(self, message: str, text: str, remedy: str = "") -> None:
        """Take also what the model said."""
        super().__init__(message, remedy)
        self.text = text


class Cancelled(ModelError):
    """A newer request about the same subject took the place of this one."""


class Speaker(StrEnum):
    """Who said something in a conversation."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody said earlier."""

    speaker: Speaker
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageRequest:
    """What is asked. None of its texts can end its part of the conversation: signs of control are read as letters.

    `prefix` is the system's text: the same for many requests, it is evaluated once. `prompt` is what differs.
    """

    prompt: str
    prefix: str = ""
    earlier: tuple[Turn, ...] = ()
    """What was said between the two."""
    schema: JsonSchema | None = None
    """What the answer is held to; None for plain text."""
    max_tokens: int = 512
    """Of the answer; what a model thinks before comes on top."""
    temperature: float = 0.1
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Texts that end the answer, and are no part of it."""
    pictures: tuple[bytes, ...] = ()
    """JPEGs, sent along with the prompt; only to a model that sees pictures."""
    priority: int = 0
    """Whoever has more goes first; of equals the older one."""
    subject: str | None = None
    """What it is about: a newer request about the same cancels this one."""
    deadline_seconds: float = 120.0
    """How long it may take, waiting for its turn included."""
    strict: bool = True
    """Whether an answer that does not fit the schema is an error; else its text is given, without a value."""

    def __post_init__(self) -> None:
        """Check what nobody could answer. Raises ValueError."""
        size = len(self.prefix) + len(self.prompt) + sum(len(turn.text) for turn in self.earlier)
        for wrong, what in (
            (size > MOST_CHARACTERS, f"the texts have more than {MOST_CHARACTERS} characters"),
            (not 1 <= self.max_tokens <= MOST_TOKENS, f"max_tokens is not 1 to {MOST_TOKENS}"),
            (not 0 <= self.temperature <= 2, "temperature is not 0 to 2"),
            (not 0 <= self.seed < 1 << 32, "seed is not 0 to 4294967295"),
            (not 0 < self.deadline_seconds <= MOST_SECONDS, f"deadline_seconds is not up to {MOST_SECONDS:.0f}"),
            (len(self.stop) > 8 or not all(self.stop), "stop is not up to 8 texts"),
        ):
            if wrong:
                raise ValueError(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageAnswer:
    """What was answered. `value` is the JSON of `text` where a schema was given, else None."""

    value: Json
    text: str
    model: str
    seconds: float
    tokens_in: int
    """Tokens of the request."""
    tokens_evaluated: int
    """How many of these were evaluated; the others were still known. As many as `tokens_in` where nobody tells."""
    tokens_out: int
    complete: bool = True
    """Whether the model ended by itself; else plain text was cut off at max_tokens."""


class ModelState(StrEnum):
    """How a language model is."""

    IDLE = "idle"
    """Nobody asked it yet."""
    LOADING = "loading"
    READY = "ready"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageStatus:
    """How a language model is. `device` and `context_tokens` are None where nobody tells."""

    state: ModelState
    model: str
    engine: str
    device: str | None = None
    context_tokens: int | None = None
    sees_pictures: bool = False
    waiting: int = 0
    running: int = 0
    tokens_per_second: float | None = None
    """Of the newest answer."""
    message: str | None = None
    """What is wrong, and what to do."""


class LanguageModel(Protocol):
    """Answers requests. Cancelling `answer` ends the generation."""

    @property
    def status(self) -> LanguageStatus:
        """How it is now."""

    async def load(self) -> None:
        """Return once it can answer. Raises ModelError."""

    async def answer(self, request: LanguageRequest, told: Told | None = None) -> LanguageAnswer:
        """Return the answer; `told` is given its pieces before. Raises ModelError."""

    async def close(self) -> None:
        """Let go of everything. A closed model answers no more."""


_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)


def without_thoughts(text: str) -> str:
    """Return what a model says besides what it thinks: `<think>` blocks, of which either end may be missing."""
    said = _THOUGHT.sub("", text)
    _, closed, after = said.rpartition("</think>")
    said = after if closed else said
    return said.partition("<think>")[0].strip()


def read_value(text: str, schema: JsonSchema) -> Json:
    """Return the JSON in what a model said, held to its schema. Raises BadAnswer.

    Texts may have line breaks as they are: the grammars of llama.cpp let them through.
    """
    said = without_thoughts(text)
    fenced = _FENCE.fullmatch(said)
    try:
        value: Json = json.loads(
            fenced[1] if fenced else said, parse_constant=_no_number, parse_float=_finite, strict=False
        )
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"The answer is no JSON: {str(error)[:100]}.", text) from error
    if problem := schema.problem(value):
        raise BadAnswer(f"The answer does not fit the schema: {problem}.", text)
    return value


def value_for(request: LanguageRequest, text: str, *, complete: bool) -> Json:
    """Return the JSON of an answer as the request wants it; None where it wants none. Raises BadAnswer."""
    schema = request.schema
    if schema is None or (not complete and not request.strict):
        return None
    if not complete:
        message = f"The answer was cut off after {request.max_tokens} tokens."
        raise BadAnswer(message, text, "Allow more, or ask for less.")
    try:
        return read_value(text, schema)
    except BadAnswer:
        if request.strict:
            raise
        return None


def _no_number(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large")
    return number
