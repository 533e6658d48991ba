# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process of a model: `python -m inference_server.risk.analyst.llama.worker`.

Requests come on its input and answers go to its output, as `frames.py` says. It needs nothing of ours but this folder,
and ends with its input, or with whoever started it.
"""

import contextlib
import ctypes
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from inference_server.risk.analyst.llama import frames
from inference_server.risk.analyst.llama.chat import Render, Turns, chatml, nemotron_mini
from inference_server.risk.analyst.llama.generation import Generator, StoppedError, UnanswerableError
from inference_server.risk.analyst.llama.prefixes import KNOWN_VERSION, Prefixes

BATCH_ON_PROCESSOR = 64
"""Tokens that are read at a time: a processor is not slower by it, and stops within a second or two."""
BATCH_ON_GPU = 512
_PR_SET_PDEATHSIG = 1
_OUT_OF_MEMORY_SCORE = "500"
"""Where memory runs out, this process goes before the server."""
_NICER = 5
"""Pictures are judged first."""
_ALIVE_SECONDS = 0.25
_WARNING, _ERROR = 3, 4
"""Of enum ggml_log_level."""
_LINE = 300


class Worker:
    """Answers what comes on its input, one request after another."""

    def __init__(self, source: BinaryIO, target: BinaryIO) -> None:
        """Take where requests come from and answers go to."""
        self._source = source
        self._target = target
        self._asked: queue.Queue[frames.Ask] = queue.Queue()
        self._stopped: set[int] = set()

    def run(self) -> None:
        """Load the model, and answer until the input ends."""
        setup = self._read()
        if not isinstance(setup, frames.Setup):
            return
        threading.Thread(target=self._listen, daemon=True).start()
        complaints: deque[str] = deque(maxlen=3)
        try:
            generator, loaded = _load(setup, complaints)
        except ImportError as error:
            remedy = "Install the extra llm (uv tool install '.[llm]')."
            self._tell(frames.Failed(-1, f"llama-cpp-python cannot be imported: {error}", remedy))
            return
        except Exception as error:  # noqa: BLE001 - the library raises many kinds
            self._tell(frames.Failed(-1, "; ".join(complaints) or f"{type(error).__name__}: {error}"))
            return
        self._tell(loaded)
        while True:
            self._answer(generator, self._asked.get())

    def _listen(self) -> None:
        """Take what comes. Without anybody who asks there is no reason to go on, whatever is being done."""
        with contextlib.suppress(Exception):
            while (frame := self._read()) is not None:
                if isinstance(frame, frames.Ask):
                    self._asked.put(frame)
                elif isinstance(frame, frames.Stop):
                    self._stopped.add(frame.number)
        os._exit(0)

    def _answer(self, generator: Generator, ask: frames.Ask) -> None:
        told = time.monotonic()

        def alive() -> None:
            nonlocal told
            if ask.number in self._stopped:
                raise StoppedError
            if (now := time.monotonic()) - told >= _ALIVE_SECONDS:
                told = now
                self._tell(frames.Alive(ask.number))

        def said(text: str) -> None:
            self._tell(frames.Piece(ask.number, text))

        try:
            answer: frames.FromWorker = generator.answer(ask, said, alive)
        except StoppedError:
            answer = frames.Stopped(ask.number)
        except UnanswerableError as error:
            answer = frames.Failed(ask.number, str(error), error.remedy)
        self._stopped.discard(ask.number)
        self._tell(answer)

    def _read(self) -> Any:
        head = self._source.read(frames.HEAD.size)
        if len(head) < frames.HEAD.size:
            return None
        return frames.unpacked(self._source.read(frames.length(head)))

    def _tell(self, frame: frames.FromWorker) -> None:
        self._target.write(frames.packed(frame))
        self._target.flush()


def _load(setup: frames.Setup, complaints: deque[str]) -> tuple[Generator, frames.Loaded]:
    import llama_cpp  # noqa: PLC0415 - an extra

    library: Any = llama_cpp
    _listen_to(library, complaints)
    on_gpu = bool(setup.gpu_layers) and library.llama_supports_gpu_offload()
    batch = BATCH_ON_GPU if on_gpu else BATCH_ON_PROCESSOR
    model, layers = _opened(library, setup, batch, on_gpu=on_gpu)
    render, notes = _render(library, model)
    prefixes = Prefixes(library, model, batch)
    if not prefixes.can_copy:
        notes.append(
            f"llama-cpp-python {library.__version__} is not {KNOWN_VERSION}: prefixes are read again where a model "
            "cannot forget the end of what it read."
        )
    if setup.gpu_layers > 0 and not on_gpu:
        notes.append("llama-cpp-python was built without support for a GPU: the processor computes.")
    generator = Generator(library, model, prefixes, render, _stop_tokens(library, model))
    name = str(model.metadata.get("general.name") or Path(setup.path).stem)[:100]
    device = f"GPU ({layers} layers)" if layers else f"CPU ({setup.threads} threads)"
    return generator, frames.Loaded(name, model.n_ctx(), device, notes)


def _listen_to(library: Any, complaints: deque[str]) -> None:
    """Have the library's warnings on the standard error, and its errors kept."""

    def note(level: int, text: bytes, _data: object) -> None:
        line = text.decode("utf-8", "replace").strip()[:_LINE]
        if level in {_WARNING, _ERROR} and line:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        if level == _ERROR and line:
            complaints.append(line)

    callback = library.llama_log_callback(note)
    library.llama_log_set(callback, None)
    library.hsi_log_callback = callback  # as long as the library


def _opened(library: Any, setup: frames.Setup, batch: int, *, on_gpu: bool) -> tuple[Any, int]:
    """Return the model and its layers on the GPU: for -1 all, half of them or none, whichever fits first."""
    tried = ([999, 24, 12, 0] if setup.gpu_layers < 0 else [setup.gpu_layers]) if on_gpu else [0]
    failure: Exception | None = None
    for layers in tried:
        try:
            model = library.Llama(
                setup.path,
                n_ctx=setup.context_tokens,
                n_batch=batch,
                n_ubatch=batch,
                n_threads=setup.threads,
                n_threads_batch=setup.threads,
                n_gpu_layers=layers,
                verbose=False,
            )
        except Exception as error:  # noqa: BLE001 - the library raises many kinds
            failure = error
        else:
            return model, layers
    raise failure or ValueError("there is nothing to try")


def _render(library: Any, model: Any) -> tuple[Render, list[str]]:
    """Return what writes conversations for a model, and what the owner should know of it."""
    template = model.metadata.get("tokenizer.chat_template")
    if not template:
        if _token(model, "<extra_id_1>") is not None:
            return nemotron_mini, []
        return chatml, ["The model file has no chat template: ChatML is used."]
    formats = sys.modules["llama_cpp.llama_chat_format"]
    try:
        formatter = formats.Jinja2ChatFormatter(
            template,
            eos_token=_text(library, model, model.token_eos()),
            bos_token=_text(library, model, model.token_bos()),
        )
    except Exception as error:  # noqa: BLE001 - a template is a program of whoever made the model
        return chatml, [f"The model's chat template cannot be used ({error}): ChatML is used."]

    def render(turns: Turns, thinking: bool) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        return str(formatter(messages=messages, enable_thinking=thinking, thinking=thinking).prompt)

    return render, []


def _stop_tokens(library: Any, model: Any) -> frozenset[int]:
    vocabulary = library.llama_model_get_vocab(model.model)
    ends = {token for token in range(model.n_vocab()) if library.llama_vocab_is_eog(vocabulary, token)}
    if (other := _token(model, "<extra_id_1>")) is not None:  # Nemotron Mini begins the user's next turn with it
        ends.add(other)
    return frozenset(ends)


def _token(model: Any, text: str) -> int | None:
    """Return the sign of control with this text, if the model has one."""
    tokens = model.tokenize(text.encode(), add_bos=False, special=True)
    return int(tokens[0]) if len(tokens) == 1 else None


def _text(library: Any, model: Any, token: int) -> str:
    if token < 0:
        return ""
    return str(
        library.llama_vocab_get_text(library.llama_model_get_vocab(model.model), token).decode("utf-8", "replace")
    )


def _prepare() -> None:
    """End with whoever started this process, leave Ctrl-C to it, and take what is left of the processor and memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OUT_OF_MEMORY_SCORE, encoding="ascii")
    os.nice(_NICER)


def main(prepare: Callable[[], None] = _prepare) -> None:
    """Answer on the standard output what comes on the standard input."""
    prepare()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    with contextlib.suppress(BrokenPipeError):
        Worker(sys.stdin.buffer, answers).run()


if __name__ == "__main__":
    main()
