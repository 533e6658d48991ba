# SPDX-License-Identifier: AGPL-3.0-or-later
"""The language model in its process against llama-cpp-python alone: tokens per second, and what a known prefix saves.

    python -m benchmarks.language [--model FILE.gguf] [--tokens 96] [--rounds 5]

Both have the same file, as many threads and the same batches, are asked the same and take turns; each round gives a
ratio of the tokens per second that they generate, as plain text and in a schema. Then a prefix of some thousand tokens
is asked twice: the time to the first piece without and with what is known of it. At last the longest time for which the
event loop of the server stood still while the model answered.
"""

import argparse
import asyncio
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import Llama

from inference_server.hardware.processor import look
from inference_server.risk.analyst.language_model import LanguageRequest
from inference_server.risk.analyst.llama.model import LlamaCppModel, LlamaOptions
from inference_server.risk.analyst.llama.worker import BATCH_ON_PROCESSOR
from inference_server.risk.analyst.opening import threads_for
from inference_server.risk.analyst.schema import JsonSchema
from tests.support.weights import language_model_path

CONTEXT = 4096
PREFIX = "You judge what cameras of a house see. " + " ".join(f"Rule {n}: zone {n} weighs {n}." for n in range(110))
SCHEMA = JsonSchema(
    {
        "type": "object",
        "properties": {
            "score": {"type": "integer", "minimum": 0, "maximum": 100},
            "reasoning": {"type": "string", "minLength": 150, "maxLength": 400},
        },
        "required": ["score", "reasoning"],
    }
)
PROMPT = "A person stands at the front door at 02:14. Explain at length what that may mean."


@dataclass(frozen=True, slots=True)
class Speed:
    """How quickly something was generated."""

    tokens: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Tokens per second, after the first one."""
        return (self.tokens - 1) / self.seconds


def bare(model: Llama, tokens: int, schema: JsonSchema | None) -> Speed:
    """Generate with the library alone."""
    wanted: Any = {"type": "json_object", "schema": schema.value} if schema else None
    stream: Any = model.create_chat_completion(
        messages=[{"role": "user", "content": PROMPT}],
        max_tokens=tokens,
        temperature=0.1,
        seed=1,
        response_format=wanted,
        stream=True,
    )
    times = [time.perf_counter() for chunk in stream if chunk["choices"][0]["delta"].get("content")]
    return Speed(len(times), times[-1] - times[0])


async def ours(model: LlamaCppModel, tokens: int, schema: JsonSchema | None) -> Speed:
    """Generate in the process."""
    times: list[float] = []
    request = LanguageRequest(
        prompt=PROMPT, max_tokens=tokens, temperature=0.1, seed=1, schema=schema, strict=False, deadline_seconds=3600
    )
    await model.answer(request, lambda _piece: times.append(time.perf_counter()))
    return Speed(len(times), times[-1] - times[0])


async def first_piece(model: LlamaCppModel, prefix: str, prompt: str) -> float:
    """Return the seconds from a request to the first piece of its answer."""
    heard = asyncio.Event()
    begun = time.perf_counter()
    request = LanguageRequest(prompt=prompt, prefix=prefix, max_tokens=8, deadline_seconds=3600)
    answering = asyncio.create_task(model.answer(request, lambda _piece: heard.set()))
    await heard.wait()
    seconds = time.perf_counter() - begun
    await answering
    return seconds


async def longest_gap(model: LlamaCppModel, tokens: int) -> float:
    """Return for how many seconds the event loop stood still at most while the model answered."""
    answering = asyncio.create_task(ours(model, tokens, None))
    gap, before = 0.0, time.perf_counter()
    while not answering.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        gap, before = max(gap, now - before), now
    await answering
    return gap


async def measure(path: Path, tokens: int, rounds: int) -> None:
    """Measure and print."""
    threads = threads_for(look().cores)
    library = Llama(
        str(path), n_ctx=CONTEXT, n_batch=BATCH_ON_PROCESSOR, n_threads=threads, n_threads_batch=threads, verbose=False
    )
    model = LlamaCppModel(LlamaOptions(path=path, name=path.name, context_tokens=CONTEXT, threads=threads))
    await model.load()
    print(f"{path.name}, llama-cpp-python {llama_cpp.__version__}, threads: {threads}, tokens per second:")
    for kind, schema in (("text", None), ("schema", SCHEMA)):
        pairs = []
        for _ in range(rounds):
            alone = await asyncio.to_thread(bare, library, tokens, schema)
            pairs.append((alone.per_second, (await ours(model, tokens, schema)).per_second))
        ratio = statistics.median(mine / theirs for theirs, mine in pairs)
        theirs, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"  {kind:8} alone {theirs:6.1f}   in its process {mine:6.1f}   ratio {ratio:.2f}")
    cold = await first_piece(model, PREFIX, "A cat.")
    warm = [await first_piece(model, PREFIX, f"{number} persons, unknown, at {number}:30.") for number in range(rounds)]
    await first_piece(model, PREFIX.replace("house", "farm"), "A cow.")
    between = await first_piece(model, PREFIX, "A red car in the drive.")
    print(f"first piece: {cold:.2f} s for an unknown prefix, {statistics.median(warm):.2f} s for a known one, ", end="")
    print(f"{between:.2f} s after another one")
    print(f"the event loop stood still for at most {await longest_gap(model, tokens) * 1000:.1f} ms")
    await model.close()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    asyncio.run(measure(options.model or language_model_path(), options.tokens, options.rounds))


if __name__ == "__main__":
    main()
