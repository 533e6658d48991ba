# SPDX-License-Identifier: AGPL-3.0-or-later
"""Language models for tests: the real one, a hybrid of random numbers, and workers that misbehave."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from inference_server.risk.analyst.language_model import LanguageRequest
from inference_server.risk.analyst.llama.model import LlamaCppModel, LlamaOptions
from inference_server.risk.analyst.schema import JsonSchema
from scripts.development.repository import cache_directory
from tests.support.gguf_files import write_hybrid
from tests.support.weights import language_model_path

LEVELS = JsonSchema(
    {
        "type": "object",
        "properties": {
            "score": {"type": "integer", "minimum": 0, "maximum": 100},
            "level": {"enum": ["low", "medium", "high"]},
        },
        "required": ["score", "level"],
    }
)
"""A short answer."""
HOUSE = "You judge what cameras see. " + " ".join(f"Rule {number}: zone {number}." for number in range(25))
"""A prefix of some 250 tokens."""
GARDEN = "You help in a garden. " + " ".join(f"Bed {number}: rose {number}." for number in range(25))
STORY = "Tell a very long story about a cat."


def judge(prompt: str, **changes: Any) -> LanguageRequest:
    """Return a request with a schema and a long prefix."""
    given: dict[str, Any] = {"prefix": HOUSE, "schema": LEVELS, "max_tokens": 64, "temperature": 0.0}
    return LanguageRequest(prompt=prompt, **{**given, **changes})


def hybrid_path() -> Path:
    """Return a tiny hybrid model, writing it once. It shares the tokenizer of the small real one."""
    path = cache_directory() / "models" / "hybrid-of-random-numbers-1.gguf"
    if not path.is_file():
        temporary = path.with_suffix(f".{id(path)}.part")
        write_hybrid(temporary, language_model_path())
        temporary.replace(path)
    return path


@asynccontextmanager
async def llama(path: Path, **options: Any) -> AsyncIterator[LlamaCppModel]:
    """Give a model that is closed in the end."""
    given: dict[str, Any] = {"name": "Tested", "context_tokens": 2048}
    model = LlamaCppModel(LlamaOptions(path=path, **{**given, **options}))
    try:
        yield model
    finally:
        await model.close()


def worker(folder: Path, answer: str) -> tuple[str, ...]:
    """Return the command of a worker that says it has loaded, and then does what `answer`, a piece of Python, says.

    `answer` has `ask`, a dictionary, `tell(kind, **fields)`, and the modules os, sys and time.
    """
    program = folder / "worker.py"
    program.write_text(_WORKER.replace("ANSWER", answer.replace("\n", "\n    ")), encoding="utf-8")
    return (sys.executable, str(program))


_WORKER = """
import json, os, struct, sys, time

def tell(kind, **fields):
    content = json.dumps({"kind": kind, **fields}).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(content)) + content)
    sys.stdout.buffer.flush()

def read():
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        os._exit(0)
    return json.loads(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))

def done(ask, text="{\\"score\\": 1, \\"level\\": \\"low\\"}"):
    tell("done", number=ask["number"], text=text, complete=True, tokens_in=3, tokens_evaluated=3, tokens_out=2,
         seconds=0.1)

read()
tell("loaded", name="Pretended", context_tokens=100, device="none", notes=[])
while True:
    ask = read()
    ANSWER
"""

type Scripted = Callable[[str], tuple[str, ...]]
"""Returns the command of a worker that does so."""
