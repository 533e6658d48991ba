# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a server that speaks OpenAI's protocol says, piece by piece: server-sent events with chunks of an answer.

See https://platform.openai.com/docs/api-reference/chat/streaming and the HTML standard, section 9.2.6.
"""

import codecs
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inference_server.risk.analyst.language_model import ModelDown, Told

MOST_LINE = 1 << 20
MOST_BYTES = 16 << 20
"""Of a whole stream: each token comes with some hundred bytes around it."""


class NotUnderstoodError(Exception):
    """The server does not understand the request."""


class BrokenOffError(Exception):
    """The stream ended before the answer did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer as the server gave it. Times are the event loop's."""

    text: str
    model: str | None
    complete: bool
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    first_at: float
    last_at: float


class Events:
    """Reads a stream of events. What is wrong with it raises ValueError, ModelDown or BrokenOffError."""

    def __init__(self, time: Callable[[], float], told: Told | None) -> None:
        """Take the time, and who is given the pieces."""
        self._time = time
        self._told = told
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._size = 0
        self._pieces: list[str] = []
        self._finish: str | None = None
        self._usage: dict[str, Any] = {}
        self._timings: dict[str, Any] = {}
        self._model: str | None = None
        self._first_at = self._last_at = time()
        self.ended = False

    @classmethod
    def of_whole(cls, message: dict[str, Any], now: float) -> Answered:
        """Return an answer that came at once."""
        events = cls(lambda: now, None)
        choice = _first(message)
        said = choice.get("message") if choice else None
        if not isinstance(said, dict):
            raise ValueError("its answer holds no message")  # noqa: TRY004 - as all that is wrong with it
        events._take({**message, "choices": [{**choice, "delta": said}]})
        events._finish = events._finish or "stop"
        return events.answered()

    def feed(self, piece: bytes) -> None:
        """Take what came."""
        self._size += len(piece)
        if self._size > MOST_BYTES:
            raise ValueError("its answer is too long")
        *lines, self._line = (self._line + self._decoder.decode(piece)).split("\n")
        if len(self._line) > MOST_LINE:
            raise ValueError("its answer has too long a line")
        for line in lines:
            field, _, value = line.rstrip("\r").partition(":")
            if field == "data" and not self.ended:
                self._data(value.strip())
            elif field == "error":  # llama-server
                self._data(json.dumps({"error": value.strip()}))

    def answered(self) -> Answered:
        """Return the answer, once it is complete."""
        if self._finish is None:
            raise BrokenOffError("no end of the answer")
        told = sum(map(bool, self._pieces))
        details = self._usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else self._timings.get("cache_n")
        return Answered(
            text="".join(self._pieces),
            model=self._model,
            complete=self._finish != "length",
            tokens_in=_count(self._usage.get("prompt_tokens")),
            tokens_cached=_count(cached),
            tokens_out=_count(self._usage.get("completion_tokens")) or told,
            first_at=self._first_at,
            last_at=self._last_at,
        )

    def _data(self, text: str) -> None:
        if text == "[DONE]":
            self.ended = True
            return
        if not text:
            return
        chunk = parsed(text.encode())
        if problem := error_of(chunk):
            raise ModelDown(f"The server failed while it answered: {problem}.", "Its log says more.")
        self._take(chunk)

    def _take(self, chunk: dict[str, Any]) -> None:
        for name in ("usage", "timings"):
            if isinstance(chunk.get(name), dict):
                setattr(self, f"_{name}", chunk[name])
        if isinstance(chunk.get("model"), str):
            self._model = chunk["model"][:200]
        choice = _first(chunk)
        if not choice:
            return
        delta = choice.get("delta")
        said = delta.get("content") if isinstance(delta, dict) else None
        if isinstance(said, str) and said:
            self._last_at = self._time()
            if not self._pieces:
                self._first_at = self._last_at
            self._pieces.append(said)
            if self._told is not None:
                self._told(said)
        if isinstance(choice.get("finish_reason"), str):
            self._finish = choice["finish_reason"]


def _first(message: dict[str, Any]) -> dict[str, Any]:
    choices = message.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0


def parsed(content: bytes, *, lenient: bool = False) -> dict[str, Any]:
    """Return the JSON object in a body; with `lenient` nothing for what is none. Raises ValueError."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        if lenient:
            return {}
        raise ValueError("its answer is no JSON") from error
    if not isinstance(found, dict):
        if lenient:
            return {}
        raise ValueError("its answer is no JSON object")
    return found


def error_of(message: dict[str, Any]) -> str | None:
    """Return what a server says went wrong: as OpenAI, vLLM, Ollama or a problem document say it."""
    error = message.get("error", message if "detail" in message or message.get("object") == "error" else None)
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or "it says not why"
    return " ".join(str(error).split())[:300].rstrip(".") if error else None
