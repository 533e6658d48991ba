# SPDX-License-Identifier: AGPL-3.0-or-later
"""Chooses the next token, within a grammar where there is one.

A grammar looks at each word of a vocabulary of a hundred thousand, which takes longer than the model. So, as in
llama.cpp's own server (common/sampling.cpp), a token is chosen freely first, and only one that the grammar refuses is
chosen again among those that it allows.
"""

import ctypes
import math
from typing import Any

import numpy as np

TOP_K, TOP_P, MIN_P = 40, 0.95, 0.05
"""The library's own defaults."""
_LIKELIEST = 1024
"""As many tokens are looked at first. What is less likely than MIN_P of the best allowed one is never chosen."""
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""llama_token_data."""


class Sampler:
    """Chooses tokens by what the model has computed last. Uses private parts of the library: see `prefixes.py`."""

    def __init__(self, library: Any, model: Any, *, temperature: float, seed: int, grammar: Any) -> None:
        """Take how tokens are chosen; at a temperature of 0 always the likeliest."""
        internals = library._internals  # noqa: SLF001 - of that version
        self._library = library
        self._model = model
        self._chain = internals.LlamaSampler()
        if temperature > 0:
            self._chain.add_top_k(TOP_K)
            self._chain.add_top_p(TOP_P)
            self._chain.add_min_p(MIN_P)
            self._chain.add_temp(temperature)
            self._chain.add_dist(seed)
        else:
            self._chain.add_greedy()
        self._grammar = None
        if grammar is not None:
            self._grammar = internals.LlamaSampler()
            self._grammar.add_grammar(model._model, grammar)  # noqa: SLF001

    def next(self) -> int:
        """Return the next token."""
        token = int(self._chain.sample(self._model._ctx, -1))  # noqa: SLF001
        if self._grammar is None:
            return token
        if not self._allows(token):
            token = self._among_the_allowed()
        self._grammar.accept(token)
        return token

    def close(self) -> None:
        """Give its memory back."""
        self._chain.close()
        if self._grammar is not None:
            self._grammar.close()

    def _allows(self, token: int) -> bool:
        candidates = np.array([(token, 1.0, 0.0)], _CANDIDATE)
        return not math.isinf(self._weighed(self._grammar, candidates).data[0].logit)

    def _among_the_allowed(self) -> int:
        """Return a token that the grammar allows, of the likeliest where that makes no difference, else of all."""
        words = self._model.n_vocab()
        found = self._library.llama_get_logits_ith(self._model.ctx, -1)
        logits = np.ctypeslib.as_array(found, shape=(words,))
        likeliest = np.argpartition(logits, -_LIKELIEST)[-_LIKELIEST:] if words > _LIKELIEST else np.arange(words)
        candidates = self._allowed(likeliest, logits)
        if not candidates["logit"].max() + math.log(MIN_P) > logits[likeliest].min():
            candidates = self._allowed(np.arange(words), logits)
        chosen = self._weighed(self._chain, candidates)
        return int(chosen.data[chosen.selected].id)

    def _allowed(self, tokens: Any, logits: Any) -> Any:
        """Return candidates, of which the grammar has made impossible what it does not allow."""
        candidates = np.zeros(len(tokens), _CANDIDATE)
        candidates["id"], candidates["logit"] = tokens, logits[tokens]
        self._weighed(self._grammar, candidates)
        return candidates

    def _weighed(self, sampler: Any, candidates: Any) -> Any:
        """Return the list of candidates after a sampler has weighed it, in the same memory, and perhaps chosen one."""
        data = candidates.ctypes.data_as(ctypes.POINTER(self._library.llama_token_data))
        listed = self._library.llama_token_data_array(data, len(candidates), -1, False)
        self._library.llama_sampler_apply(sampler.sampler, ctypes.byref(listed))
        return listed
