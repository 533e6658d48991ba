# SPDX-License-Identifier: AGPL-3.0-or-later
"""A language model on a server that speaks OpenAI's protocol: llama-server, vLLM, Ollama, LM Studio, our service."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp import hdrs

from inference_server.risk.analyst.language_model import (
    LanguageAnswer,
    LanguageRequest,
    LanguageStatus,
    ModelDown,
    ModelError,
    ModelState,
    Refused,
    TimedOut,
    Told,
    value_for,
    without_thoughts,
)
from inference_server.risk.analyst.line import Line
from inference_server.risk.analyst.openai_errors import RUN_REMEDY, ServerErrors
from inference_server.risk.analyst.openai_stream import (
    Answered,
    BrokenOffError,
    Events,
    NotUnderstoodError,
    error_of,
    parsed,
)
from inference_server.settings import Sight

ENGINE = "OpenAI"
MOST_PROBE_BYTES = 4 << 20
PROBE_SECONDS = 10.0


class _Held(StrEnum):
    """How a server is told of the schema."""

    SCHEMA = "json_schema"
    OBJECT = "json_object"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What a server is thought to understand; where it refuses something, less is tried."""

    held: _Held = _Held.SCHEMA
    thinking: bool = True
    """Whether it may be told what its chat template is to do."""


_DIALECTS = (
    _Dialect(),
    _Dialect(thinking=False),
    _Dialect(_Held.OBJECT, thinking=False),
    _Dialect(_Held.TEXT, thinking=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAiOptions:
    """Where the server is, and what is wanted of it."""

    url: str
    key: str | None = None
    model: str | None = None
    """The name of the model there; None means the first one that the server lists."""
    sight: Sight = Sight.AUTO
    thinking: bool = False
    parallel: int = 1
    most_waiting: int = 32
    connect_seconds: float = 5.0
    stall_seconds: float = 60.0


class OpenAiModel:
    """Implements LanguageModel over HTTP. Whoever asks decides what is tried again."""

    def __init__(self, options: OpenAiOptions) -> None:
        """Take where the server is; nothing is sent."""
        self._options = options
        self._url = options.url.rstrip("/") + ("" if urlsplit(options.url).path.strip("/") else "/v1")
        self._errors = ServerErrors(self._url, options.connect_seconds, options.stall_seconds)
        self._line = Line(options.most_waiting, options.parallel)
        self._session: aiohttp.ClientSession | None = None
        self._model = options.model
        self._sees = options.sight is Sight.YES
        self._known = False
        self._dialect = 0
        self._error: ModelError | None = None
        self._speed: float | None = None
        self._closed = False

    @property
    def status(self) -> LanguageStatus:
        """How it is now, as far as the newest request tells."""
        error = self._error
        known = ModelState.READY if self._known else ModelState.IDLE
        return LanguageStatus(
            state=ModelState.DOWN if error else known,
            model=self._model or "unknown",
            engine=ENGINE,
            device=self._url,
            sees_pictures=self._sees,
            waiting=self._line.waiting,
            running=self._line.running,
            tokens_per_second=self._speed,
            message=f"{error} {error.remedy}".strip() if error else None,
        )

    async def load(self) -> None:
        """Return once the server has told its models. Raises ModelError."""
        await self._noted(self._learn())

    async def answer(self, request: LanguageRequest, told: Told | None = None) -> LanguageAnswer:
        """Return the answer; `told` is given its pieces, thoughts included. Raises ModelError."""
        return await self._line.through(request, lambda: self._noted(self._answered(request, told)))

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _noted[Found](self, work: Any) -> Found:
        """Keep what is wrong with the server for the status."""
        try:
            found: Found = await work
        except (ModelDown, Refused, TimedOut) as error:
            self._error = error
            raise
        self._error = None
        return found

    async def _answered(self, request: LanguageRequest, told: Told | None) -> LanguageAnswer:
        await self._learn()
        begun = asyncio.get_running_loop().time()
        answered = await self._in_some_dialect(request, told)
        seconds = asyncio.get_running_loop().time() - begun
        speaking = answered.last_at - answered.first_at
        self._speed = round(answered.tokens_out / speaking, 1) if speaking > 0 else self._speed
        return LanguageAnswer(
            value=value_for(request, answered.text, complete=answered.complete),
            text=without_thoughts(answered.text),
            model=answered.model or self._model or "unknown",
            seconds=seconds,
            tokens_in=answered.tokens_in,
            tokens_evaluated=max(0, answered.tokens_in - answered.tokens_cached),
            tokens_out=answered.tokens_out,
            complete=answered.complete,
        )

    async def _in_some_dialect(self, request: LanguageRequest, told: Told | None) -> Answered:
        """Ask as the server understood before, and more simply where it refuses that. What works is remembered."""
        first: ModelError | None = None
        asked: list[dict[str, Any]] = []
        for number in range(self._dialect, len(_DIALECTS)):
            body = self._body(request, _DIALECTS[number])
            if body in asked:
                continue
            asked.append(body)
            try:
                answered = await self._ask(body, told)
            except NotUnderstoodError as error:
                first = first or Refused(
                    f"The server at {self._url} refuses the request: {error}.",
                    "Perhaps it is too long for the context of the model there; else its log says more.",
                )
            else:
                if request.schema is not None:
                    self._dialect = number
                return answered
        raise first or AssertionError

    def _body(self, request: LanguageRequest, dialect: _Dialect) -> dict[str, Any]:
        prefix = request.prefix
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if dialect.thinking:
            body["chat_template_kwargs"] = {"enable_thinking": self._options.thinking}
        if request.schema is not None:
            if dialect.held is _Held.SCHEMA:
                named = {"name": "answer", "schema": request.schema.value, "strict": True}
                body["response_format"] = {"type": "json_schema", "json_schema": named}
            else:
                wish = (
                    f"Answer with one JSON object that fits this JSON schema, and nothing else:\n{request.schema.text}"
                )
                prefix = f"{prefix}\n\n{wish}".strip()
            if dialect.held is _Held.OBJECT:
                body["response_format"] = {"type": "json_object"}
        body["messages"] = list(self._messages(request, prefix))
        return body

    def _messages(self, request: LanguageRequest, prefix: str) -> Iterator[dict[str, Any]]:
        if prefix:
            yield {"role": "system", "content": prefix}
        for turn in request.earlier:
            yield {"role": turn.speaker.value, "content": turn.text}
        if not (request.pictures and self._sees):
            yield {"role": "user", "content": request.prompt}
            return
        pictures = [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{b64encode(picture).decode()}"}}
            for picture in request.pictures
        ]
        yield {"role": "user", "content": [{"type": "text", "text": request.prompt}, *pictures]}

    async def _ask(self, body: dict[str, Any], told: Told | None) -> Answered:
        """Send a request and return its answer. Raises ModelError, NotUnderstoodError."""
        async with self._response(hdrs.METH_POST, f"{self._url}/chat/completions", json=body) as response:
            if response.status != HTTPStatus.OK:
                retry_after = response.headers.get(hdrs.RETRY_AFTER)
                raise self._errors.of_answer(response.status, retry_after, await _bounded(response))
            if response.content_type == "application/json":
                return self._whole(await _bounded(response))
            if response.content_type != "text/event-stream":
                raise self._errors.not_ours(f"it answers with {response.content_type[:60]}")
            events = Events(asyncio.get_running_loop().time, told)
            async for piece in response.content.iter_any():
                events.feed(piece)
                if events.ended:
                    break
            return events.answered()

    def _whole(self, content: bytes) -> Answered:
        """Read the answer of a server that does not stream."""
        message = parsed(content)
        if problem := error_of(message):
            raise ModelDown(f"The server at {self._url} failed: {problem}.", "Its log says more.")
        return Events.of_whole(message, asyncio.get_running_loop().time())

    def _response(self, method: str, url: str, **sent: Any) -> "_Request":
        if self._closed:
            raise ModelDown("The model was closed.")
        if self._session is None:
            headers = {hdrs.ACCEPT_ENCODING: "identity"}
            if self._options.key is not None:
                headers[hdrs.AUTHORIZATION] = f"Bearer {self._options.key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._options.parallel + 1, keepalive_timeout=60),
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._options.connect_seconds, sock_read=self._options.stall_seconds
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # what is packed may be endless
            )
        return _Request(self._errors, self._session.request(method, url, allow_redirects=False, **sent))

    async def _learn(self) -> None:
        """Find out which model is there and whether it sees, once."""
        if self._known:
            return
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                listed = await self._listed()
        except TimeoutError as error:
            raise ModelDown(f"The server at {self._url} does not tell its models.", RUN_REMEDY) from error
        if self._model is None:
            if not listed:
                raise Refused(
                    f"The server at {self._url} names no model.", "Load one there, or set analyst.model_name."
                )
            self._model = listed[0]
        elif listed and not any(_alike(name, self._model) for name in listed):
            raise Refused(
                f"The server at {self._url} has no model {self._model}.",
                f"Set analyst.model_name to one of these: {', '.join(listed[:5])[:300]}.",
            )
        if self._options.sight is Sight.AUTO:
            self._sees = await self._told_to_see(self._model)
        self._known = True

    async def _listed(self) -> list[str]:
        """Return the names of the server's models; none where it lists none."""
        async with self._response(hdrs.METH_GET, f"{self._url}/models") as response:
            content = await _bounded(response)
            if response.status == HTTPStatus.NOT_FOUND and self._model is not None:
                return []
            if response.status != HTTPStatus.OK:
                error = self._errors.of_answer(response.status, response.headers.get(hdrs.RETRY_AFTER), content)
                raise self._errors.not_ours(str(error)) if isinstance(error, NotUnderstoodError) else error
            found = parsed(content)
            data = found.get("data") or []
            names = [item.get("id") for item in data if isinstance(item, dict)] if isinstance(data, list) else []
            return [name[:200] for name in names if isinstance(name, str) and name]

    async def _told_to_see(self, model: str) -> bool:
        """Return whether the server says that its model sees pictures: each kind of server says it elsewhere."""
        root = self._url.removesuffix("/v1")
        props = await self._probed(hdrs.METH_GET, f"{root}/props")
        modalities = props.get("modalities")
        if isinstance(modalities, dict):  # llama-server
            return modalities.get("vision") is True
        shown = await self._probed(hdrs.METH_POST, f"{root}/api/show", json={"model": model})
        if isinstance(shown.get("capabilities"), list):  # Ollama
            return "vision" in shown["capabilities"]
        described = await self._probed(hdrs.METH_GET, f"{root}/api/v0/models/{quote(model, safe='')}")
        return described.get("type") == "vlm"  # LM Studio

    async def _probed(self, method: str, url: str, **sent: Any) -> dict[str, Any]:
        """Return what a server says that may know the question; nothing where it does not."""
        try:
            async with asyncio.timeout(PROBE_SECONDS), self._response(method, url, **sent) as response:
                return parsed(await _bounded(response), lenient=True) if response.status == HTTPStatus.OK else {}
        except (ModelError, TimeoutError):
            pass
        return {}


class _Request:
    """A request under way, whose failures are explained."""

    def __init__(self, errors: ServerErrors, request: Any) -> None:
        self._errors = errors
        self._request = request

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            response: aiohttp.ClientResponse = await self._request.__aenter__()
        except (aiohttp.ClientError, ssl.SSLError) as error:
            raise self._errors.of_connection(error) from error
        return response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._request.__aexit__(kind, error, trace)
        if isinstance(error, aiohttp.ClientError | ssl.SSLError | ValueError | BrokenOffError):
            raise self._errors.of_connection(error) from error


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    return b"".join([piece async for piece in _pieces(response)])


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield a body. Raises ValueError where it is too long."""
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > MOST_PROBE_BYTES:
            raise ValueError("its answer is too long")
        yield piece


def _alike(name: str, wanted: str) -> bool:
    """Return whether a server means this model: Ollama says "qwen3:latest" for "qwen3"."""
    return name == wanted or name.removesuffix(":latest") == wanted.removesuffix(":latest")
