# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model has read already, and need not read again.

A transformer forgets the end of what it read and goes on from there. A hybrid (Nemotron-3-Nano has Mamba layers)
cannot: its state after the prefix is copied and put back. The same is done for a transformer when another prefix comes
between.
"""

import ctypes
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

KNOWN_VERSION = "0.3.36"
"""The version of llama-cpp-python whose private attributes are used here."""
MOST_STATES = 4
MOST_BYTES = 512 << 20
"""Of all copies together."""
WORTH_TOKENS = 32
"""A shorter prefix is read again as quickly."""


@dataclass(frozen=True, slots=True)
class _State:
    """A copy of what the model holds after it read some tokens."""

    tokens: tuple[int, ...]
    content: Any


class Prefixes:
    """Reads requests into a model, as little of them as is needed."""

    def __init__(self, library: Any, model: Any, batch: int) -> None:
        """Take the model; it reads `batch` tokens at a time, between which it can be stopped."""
        self._library = library
        self._model = model
        self._batch = batch
        self._states: OrderedDict[tuple[int, ...], _State] = OrderedDict()
        self._present: tuple[int, ...] = ()
        self.can_copy = library.__version__ == KNOWN_VERSION
        self._rewinds = self.can_copy and not (model._is_hybrid or model._is_recurrent)  # noqa: SLF001 - of that version

    def read(self, prefix: Sequence[int], tokens: Sequence[int], alive: Callable[[], None]) -> int:
        """Have the model read the tokens, which begin with the prefix. Return how many it had to read.

        What `alive` raises between two batches is passed on, and the model then holds what it had read.
        """
        if not self.can_copy:
            # The library reads the tokens itself, and what it can it keeps.
            return len(tokens) - (0 if self._library.llama_model_is_hybrid(self._model.model) else self._common(tokens))
        start = tuple(prefix) if len(prefix) >= WORTH_TOKENS else ()
        known = self._go_back(start, tokens)
        if len(start) > known and not self._rewinds:
            self._evaluate(tokens[known : len(start)], alive)
            self._keep(start)
        self._present = start
        self._evaluate(tokens[self._model.n_tokens :], alive)
        return len(tokens) - known

    def _go_back(self, prefix: tuple[int, ...], tokens: Sequence[int]) -> int:
        """Let the model forget what does not belong to these tokens. Return how many of them it holds."""
        common = min(self._common(tokens), len(tokens) - 1)
        if common < len(prefix):
            self._keep_present()
            common = min(common, self._model.n_tokens)
        if common >= len(prefix) and self._rewind(common):
            return common
        if (state := self._states.get(prefix)) is not None and self._restored(state):
            return len(prefix)
        if common and self._rewind(common):
            return common
        self._clear()
        return 0

    def _common(self, tokens: Sequence[int]) -> int:
        """Return how many of these tokens, from the first on, the model holds."""
        held = self._model.input_ids[: self._model.n_tokens].tolist()
        return next(
            (at for at, (a, b) in enumerate(zip(held, tokens, strict=False)) if a != b), min(len(held), len(tokens))
        )

    def _rewind(self, length: int) -> bool:
        """Forget everything after so many tokens, where the model can."""
        if length < self._model.n_tokens:
            if not self._rewinds:
                return False
            if not self._model._ctx.kv_cache_seq_rm(0, length, -1):  # noqa: SLF001
                self._rewinds = False
                return False
        self._set(length)
        return True

    def _keep_present(self) -> None:
        """Copy the state after the prefix that the model holds now: another one comes."""
        prefix = self._present
        if not prefix or prefix in self._states or not self._rewinds:
            return
        if self._common(prefix) == len(prefix) and self._rewind(len(prefix)):
            self._keep(prefix)

    def _keep(self, prefix: tuple[int, ...]) -> None:
        context = self._model._ctx.ctx  # noqa: SLF001
        size = self._library.llama_state_seq_get_size(context, 0)
        if not 0 < size <= MOST_BYTES:
            return
        content = (ctypes.c_uint8 * size)()
        if not self._library.llama_state_seq_get_data(context, content, size, 0):
            return
        self._states[prefix] = _State(prefix, content)
        while len(self._states) > MOST_STATES or sum(len(one.content) for one in self._states.values()) > MOST_BYTES:
            self._states.popitem(last=False)

    def _restored(self, state: _State) -> bool:
        self._clear()
        context = self._model._ctx.ctx  # noqa: SLF001
        if not self._library.llama_state_seq_set_data(context, state.content, len(state.content), 0):
            self._states.pop(state.tokens)
            self._clear()
            return False
        self._states.move_to_end(state.tokens)
        self._model.input_ids[: len(state.tokens)] = state.tokens
        self._set(len(state.tokens))
        return True

    def _clear(self) -> None:
        self._model._ctx.kv_cache_clear()  # noqa: SLF001
        self._set(0)

    def _set(self, length: int) -> None:
        self._model.n_tokens = length
        self._model._requires_eval = True  # noqa: SLF001

    def _evaluate(self, tokens: Sequence[int], alive: Callable[[], None]) -> None:
        for start in range(0, len(tokens), self._batch):
            self._model.eval(list(tokens[start : start + self._batch]))
            alive()
