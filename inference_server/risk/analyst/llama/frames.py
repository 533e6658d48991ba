# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the server and the process of a model tell each other: JSON, after its length (uint32, big-endian)."""

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

HEAD = struct.Struct(">I")
MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Setup:
    """How the model is loaded."""

    kind: ClassVar[str] = "setup"
    path: str
    context_tokens: int
    threads: int
    gpu_layers: int
    """How many layers are held by a GPU; -1 for as many as fit."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. `turns` are pairs of role and text, the system's first where there is one."""

    kind: ClassVar[str] = "ask"
    number: int
    turns: list[list[str]]
    schema: str | None
    max_tokens: int
    temperature: float
    seed: int
    stop: list[str]
    thinking: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """The request is wanted no more."""

    kind: ClassVar[str] = "stop"
    number: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model can be asked."""

    kind: ClassVar[str] = "loaded"
    name: str
    context_tokens: int
    device: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Alive:
    """A part of the request was evaluated, or a token was thought."""

    kind: ClassVar[str] = "alive"
    number: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the answer."""

    kind: ClassVar[str] = "piece"
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete, or was cut off at max_tokens."""

    kind: ClassVar[str] = "done"
    number: int
    text: str
    complete: bool
    tokens_in: int
    tokens_evaluated: int
    tokens_out: int
    seconds: float
    """From the first token of the answer to the last one."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The request was given up."""

    kind: ClassVar[str] = "stopped"
    number: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The model cannot be loaded (number -1), or the request cannot be answered. `remedy` says what to do."""

    kind: ClassVar[str] = "failed"
    number: int
    error: str
    remedy: str = ""


type ToWorker = Setup | Ask | Stop
type FromWorker = Loaded | Alive | Piece | Done | Stopped | Failed
_KINDS: dict[str, type[Any]] = {
    kind.kind: kind for kind in (Setup, Ask, Stop, Loaded, Alive, Piece, Done, Stopped, Failed)
}


def packed(frame: ToWorker | FromWorker) -> bytes:
    """Return a frame's bytes. Raises ValueError for one that is too long."""
    content = json.dumps({"kind": frame.kind, **asdict(frame)}).encode()
    if len(content) > MOST_BYTES:
        raise ValueError(f"a frame of {len(content)} bytes")
    return HEAD.pack(len(content)) + content


def unpacked(content: bytes) -> Any:
    """Return the frame in some bytes, without their length. Raises ValueError."""
    try:
        fields = json.loads(content)
        return _KINDS[fields.pop("kind")](**fields)
    except (TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"no frame: {error}") from error


def length(head: bytes) -> int:
    """Return how many bytes a frame has. Raises ValueError."""
    size: int = HEAD.unpack(head)[0]
    if size > MOST_BYTES:
        raise ValueError(f"a frame of {size} bytes")
    return size
