# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers requests with a loaded model: reads them in small batches, thinks, answers, and stops when it is told to."""

import codecs
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from inference_server.risk.analyst.llama.chat import THOUGHT, Conversation, Render, TemplateError, chatml, conversation
from inference_server.risk.analyst.llama.frames import Ask, Done
from inference_server.risk.analyst.llama.prefixes import Prefixes
from inference_server.risk.analyst.llama.sampling import Sampler

MOST_THOUGHTS = 1024
"""Tokens of a thought; then the answer has to begin."""


class StoppedError(Exception):
    """The request is wanted no more."""


class UnanswerableError(Exception):
    """The model cannot answer the request. `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep the reason and the remedy apart."""
        super().__init__(message)
        self.remedy = remedy


@dataclass(slots=True)
class Generator:
    """Answers one request at a time. It blocks; `stopped` and the listeners are called between tokens."""

    library: Any
    model: Any
    prefixes: Prefixes
    render: Render
    stop_tokens: frozenset[int]

    def answer(self, ask: Ask, said: Callable[[str], None], alive: Callable[[], None]) -> Done:
        """Return the answer; `said` is given its pieces, `alive` is called in between and may raise StoppedError.

        Raises StoppedError, UnanswerableError.
        """
        grammar = self._grammar(ask.schema)
        talk = self._conversation(ask)
        prefix, tokens = self._tokens(talk)
        self._check_room(len(tokens), ask.max_tokens)
        evaluated = self.prefixes.read(prefix, tokens, alive)
        given = len(tokens)
        if talk.thinks:
            tokens = self._thought(tokens, ask, alive)
        begun = time.perf_counter()
        text, out, complete = self._said(tokens, ask, grammar, said, alive)
        return Done(
            number=ask.number,
            text=text,
            complete=complete,
            tokens_in=given,
            tokens_evaluated=evaluated,
            tokens_out=out + len(tokens) - given,
            seconds=time.perf_counter() - begun,
        )

    def _grammar(self, schema: str | None) -> Any:
        if schema is None:
            return None
        try:
            return self.library.LlamaGrammar.from_json_schema(schema, verbose=False)
        except Exception as error:  # the converter raises many kinds
            raise UnanswerableError(
                f"The schema cannot be made a grammar: {type(error).__name__}: {error}.", "Use a simpler one."
            ) from error

    def _conversation(self, ask: Ask) -> Conversation:
        turns = [(role, text) for role, text in ask.turns]
        try:
            return conversation(turns, self.render, thinking=ask.thinking)
        except TemplateError:
            return conversation(turns, chatml, thinking=False)

    def _tokens(self, talk: Conversation) -> tuple[list[int], list[int]]:
        """Return the tokens of a conversation, and before them those of its prefix."""
        tokens: list[int] = []
        prefix = 0
        for number, part in enumerate(talk.parts):
            if number == talk.prefix_parts:
                prefix = len(tokens)
            if part.text:
                tokens += self.model.tokenize(part.text.encode("utf-8", "replace"), add_bos=False, special=part.trusted)
        bos = self.model.token_bos()
        wants = self.library.llama_vocab_get_add_bos(self.library.llama_model_get_vocab(self.model.model))
        if wants and tokens[:1] != [bos]:
            tokens, prefix = [bos, *tokens], prefix + 1
        return tokens[:prefix], tokens

    def _check_room(self, given: int, wanted: int) -> None:
        room = self.model.n_ctx()
        if given + wanted > room:
            raise UnanswerableError(
                f"The request has {given} tokens and wants {wanted} more, and the model has room for {room}.",
                "Ask for less, or raise analyst.context_tokens.",
            )

    def _thought(self, tokens: list[int], ask: Ask, alive: Callable[[], None]) -> list[int]:
        """Return the tokens with what the model thinks after them, closed."""
        room = self.model.n_ctx() - len(tokens) - ask.max_tokens - 8
        text, found = "", list(tokens)
        pieces = codecs.getincrementaldecoder("utf-8")("replace")
        for token in self._generated(tokens, ask, None):
            alive()
            if token in self.stop_tokens or len(found) - len(tokens) >= min(room, MOST_THOUGHTS):
                break
            found.append(token)
            text = (text + pieces.decode(self.model.detokenize([token], special=True)))[-64:]
            if THOUGHT in text:
                return found
        return [*found, *self.model.tokenize(f"\n{THOUGHT}".encode(), add_bos=False, special=True)]

    def _said(
        self, tokens: list[int], ask: Ask, grammar: Any, said: Callable[[str], None], alive: Callable[[], None]
    ) -> tuple[str, int, bool]:
        """Return the answer, its tokens, and whether the model ended it."""
        speech = _Speech(tuple(ask.stop), said)
        out = 0
        for token in self._generated(tokens, ask, grammar):
            alive()
            if token in self.stop_tokens or out >= ask.max_tokens:
                speech.end()
                return speech.text, out, token in self.stop_tokens
            out += 1
            speech.add(self.model.detokenize([token]))
            if speech.ended:
                break
        return speech.text, out, True

    def _generated(self, tokens: list[int], ask: Ask, grammar: Any) -> Iterator[int]:
        """Yield what the model says after these tokens, one token after the other and without an end."""
        if not self.prefixes.can_copy:
            self.model.set_seed(ask.seed)
            yield from self.model.generate(tokens, temp=ask.temperature, grammar=grammar)
            return
        sampler = Sampler(self.library, self.model, temperature=ask.temperature, seed=ask.seed, grammar=grammar)
        try:
            self.model.eval(tokens[self.model.n_tokens :])
            while True:
                token = sampler.next()
                yield token
                self.model.eval([token])
        finally:
            sampler.close()


class _Speech:
    """An answer as it grows: whole characters, and nothing from where a text that ends it begins."""

    def __init__(self, stops: tuple[str, ...], said: Callable[[str], None]) -> None:
        self._stops = stops
        self._said = said
        self._pieces = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = max((len(stop) for stop in stops), default=1) - 1
        self._told = 0
        self.text = ""
        self.ended = False

    def add(self, piece: bytes) -> None:
        self._grow(self._pieces.decode(piece))
        found = [at for stop in self._stops if (at := self.text.find(stop)) >= 0]
        if found:
            self.text, self.ended = self.text[: min(found)], True
        self._tell(0 if self.ended else self._held)

    def end(self) -> None:
        self._grow(self._pieces.decode(b"", final=True))
        self._tell(0)

    def _grow(self, text: str) -> None:
        self.text += text

    def _tell(self, held: int) -> None:
        """Tell what is sure: the last characters may begin what ends the answer."""
        sure = len(self.text) - held
        if sure > self._told:
            self._said(self.text[self._told : sure])
            self._told = sure
