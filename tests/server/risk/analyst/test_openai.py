# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that speak OpenAI's protocol, and those that do not: slow, broken off, nonsense, endless, refusing."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from inference_server.risk.analyst.language_model import (
    BadAnswer,
    LanguageRequest,
    ModelDown,
    ModelError,
    ModelState,
    Refused,
    TimedOut,
)
from inference_server.risk.analyst.openai import OpenAiModel, OpenAiOptions
from inference_server.settings import Sight
from scripts.development.process import free_port
from tests.support.language import judge

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ANSWER = '{"score": 7, "level": "low"}'


class _Server:
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.chat: Handler = _saying(ANSWER)
        self.models: Handler = _json({"data": [{"id": "small"}, {"id": "large"}]})
        self.others: dict[str, Handler] = {}
        self.left = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(request.headers.get("Authorization"))
        if request.path == "/v1/models":
            return await self.models(request)
        if request.path == "/v1/chat/completions":
            self.asked.append(await request.json())
            try:
                return await self.chat(request)
            except asyncio.CancelledError:
                self.left.set()
                raise
        if handler := self.others.get(request.path):
            return await handler(request)
        return web.Response(status=404)


@asynccontextmanager
async def _server(**options: Any) -> AsyncIterator[tuple[_Server, OpenAiModel]]:
    port = free_port()
    server = _Server(f"http://127.0.0.1:{port}")
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    model = OpenAiModel(OpenAiOptions(**{"url": server.url, "sight": Sight.NO, **options}))
    try:
        yield server, model
    finally:
        await model.close()
        await runner.cleanup()


def _json(content: Any, status: int = 200, **headers: str) -> Handler:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.json_response(content, status=status, headers=headers)

    return handle


def _raw(body: bytes, kind: str, status: int = 200, **headers: str) -> Handler:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=kind, status=status, headers=headers)

    return handle


def _event(content: Any) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def _chunk(text: str | None, finish: str | None = None, **more: Any) -> bytes:
    return _event({"model": "small", "choices": [{"delta": {"content": text}, "finish_reason": finish}], **more})


def _saying(*pieces: str, finish: str | None = "stop", usage: Any = None) -> Handler:
    told = usage or {"prompt_tokens": 50, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 40}}
    return _sending(
        *map(_chunk, pieces), _chunk(None, finish), _event({"choices": [], "usage": told}), b"data: [DONE]\n\n"
    )


def _sending(*pieces: bytes, then: Callable[[web.StreamResponse], Awaitable[None]] | None = None) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if then is not None:
            await then(response)
        return response

    return handle


async def _never(_response: web.StreamResponse) -> None:
    await asyncio.Event().wait()


async def test_an_answer_is_streamed_held_to_its_schema_and_counted() -> None:
    async with _server(key="sesame") as (server, model):
        server.chat = _saying('{"sco', 're": 7, "lev', 'el": "low"}')
        pieces: list[str] = []
        answer = await model.answer(judge("a cat"), pieces.append)
        assert answer.value == {"score": 7, "level": "low"}
        assert "".join(pieces) == answer.text == ANSWER
        assert (answer.tokens_in, answer.tokens_evaluated, answer.tokens_out) == (50, 10, 9)
        assert (answer.model, model.status.model, model.status.state) == ("small", "small", ModelState.READY)
        [asked] = server.asked
        assert asked["response_format"]["json_schema"]["schema"]["properties"]["score"] == {"enum": list(range(101))}
        assert [message["role"] for message in asked["messages"]] == ["system", "user"]
        assert asked["stream"] is True
        assert set(server.headers) == {"Bearer sesame"}


@pytest.mark.parametrize(
    "pieces",
    [
        [b": hello\r\n\r\n" + _chunk(ANSWER, "stop").replace(b"\n", b"\r\n")],
        [bytes([byte]) for byte in _chunk(ANSWER, "stop")],
        [_event({"choices": [{"delta": {"reasoning_content": "hm"}}]}), _chunk("<think>x</think>" + ANSWER, "stop")],
        [b"event: message\nid: 3\nretry: 7\n" + _chunk(ANSWER, "stop") + b"data: [DONE]\n\n" + b"data: nonsense\n\n"],
    ],
)
async def test_a_stream_may_come_in_any_pieces(pieces: list[bytes]) -> None:
    async with _server() as (server, model):
        server.chat = _sending(*pieces)
        assert (await model.answer(judge("x"))).value == {"score": 7, "level": "low"}


async def test_a_server_that_does_not_stream_is_understood() -> None:
    async with _server() as (server, model):
        whole = {"choices": [{"message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}]}
        server.chat = _json({**whole, "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
        answer = await model.answer(judge("x"))
        assert (answer.value, answer.tokens_in, answer.tokens_out) == ({"score": 7, "level": "low"}, 5, 3)


async def test_what_a_server_does_not_understand_is_said_more_simply_and_remembered() -> None:
    async def picky(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        kind = asked.get("response_format", {}).get("type")
        if "chat_template_kwargs" in asked or kind == "json_schema":
            return web.json_response({"error": {"message": "unknown field"}}, status=400)
        return await _saying(ANSWER)(request)

    async with _server() as (server, model):
        server.chat = picky
        assert (await model.answer(judge("x"))).value == {"score": 7, "level": "low"}
        assert [asked.get("response_format", {}).get("type") for asked in server.asked] == [
            "json_schema",
            "json_schema",
            "json_object",
        ]
        assert "JSON schema" in server.asked[-1]["messages"][0]["content"]
        server.asked.clear()
        await model.answer(judge("x"))
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("chat", "error", "words"),
    [
        (_json({"error": {"message": "context is too small"}}, 400), Refused, "context is too small"),
        (_json({"error": "bad key"}, 401), Refused, "refuses the key: bad key"),
        (_json({}, 403), Refused, "refuses the key"),
        (_json({"error": "no such model"}, 404), Refused, "no such model"),
        (_json({"detail": "come later"}, 429, **{"Retry-After": "17"}), ModelDown, "come later"),
        (_json({"error": {"message": "Loading model"}}, 503), ModelDown, "Loading model"),
        (_raw(b"<html>oops", "text/html", 500), ModelDown, "failed: status 500"),
        (_raw(b"", "text/plain", 307, Location="http://127.0.0.1:1/"), Refused, "sends elsewhere"),
        (_raw(b"<html>router", "text/html"), Refused, "answers with text/html"),
        (_raw(b"nonsense", "application/json"), Refused, "no JSON"),
        (_raw(b"[]", "application/json"), Refused, "no JSON object"),
        (_raw(b"{}", "application/json"), Refused, "holds no message"),
        (_raw(b'{"error": {"message": "cuda"}}', "application/json"), ModelDown, "cuda"),
        (_raw(b"{" * 5_000_000, "application/json"), Refused, "too long"),
        (_sending(b"data: nonsense\n\n"), Refused, "no JSON"),
        (_sending(b"x" * (2 << 20)), Refused, "too long a line"),
        (_sending(_chunk("{"), _event({"error": {"message": "out of memory"}})), ModelDown, "out of memory"),
        (_sending(_chunk("{")), ModelDown, "broke its answer off"),
        (_sending(*[_chunk("x" * 100_000)] * 200), Refused, "too long"),
        (_sending(_chunk("{"), then=_never), TimedOut, "no sign of life"),
        (_saying("nonsense"), BadAnswer, "no JSON"),
        (_saying('{"score": 101, "level": "low"}'), BadAnswer, "score"),
        (_saying('{"score": 1', finish="length"), BadAnswer, "cut off"),
    ],
)
async def test_what_goes_wrong_is_told_in_words(chat: Handler, error: type[ModelError], words: str) -> None:
    async with _server(stall_seconds=0.5) as (server, model):
        server.chat = chat
        with pytest.raises(error, match=words) as raised:
            await model.answer(judge("x"))
        if isinstance(raised.value, BadAnswer):
            assert model.status.state is ModelState.READY
        else:
            assert model.status.state is ModelState.DOWN
            assert words in (model.status.message or "")
            assert raised.value.remedy
        if words == "come later":
            assert isinstance(raised.value, ModelDown)
            assert raised.value.retry_after == 17
        server.chat = _saying(ANSWER)
        assert (await model.answer(judge("x"))).text == ANSWER
        assert model.status.state is ModelState.READY


async def test_a_connection_that_breaks_in_mid_answer_is_told() -> None:
    async def breaking(request: web.Request) -> web.StreamResponse:
        async def cut(_response: web.StreamResponse) -> None:
            assert request.transport is not None
            request.transport.abort()

        return await _sending(_chunk("{"), then=cut)(request)

    async with _server() as (server, model):
        server.chat = breaking
        with pytest.raises(ModelDown, match="failed: ClientPayloadError"):
            await model.answer(judge("x"))


async def test_a_stream_that_never_ends_ends_with_the_deadline() -> None:
    async def drip(response: web.StreamResponse) -> None:
        while True:
            await response.write(b": still here\n\n")
            await asyncio.sleep(0.05)

    async with _server() as (server, model):
        server.chat = _sending(then=drip)
        with pytest.raises(TimedOut, match=r"within 0.5 s"):
            await model.answer(judge("x", deadline_seconds=0.5))
        await asyncio.wait_for(server.left.wait(), 30)


async def test_cancelling_closes_the_connection_so_that_the_server_stops() -> None:
    async with _server() as (server, model):
        begun = asyncio.Event()
        server.chat = _sending(_chunk("{"), then=_never)
        answering = asyncio.create_task(model.answer(judge("x"), lambda _piece: begun.set()))
        await asyncio.wait_for(begun.wait(), 30)
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        await asyncio.wait_for(server.left.wait(), 30)


async def test_nobody_at_the_address_is_told() -> None:
    model = OpenAiModel(OpenAiOptions(url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(ModelDown, match="cannot be reached") as down:
        await model.load()
    assert down.value.remedy
    await model.close()
    with pytest.raises(ModelDown, match="closed"):
        await model.load()


@pytest.mark.parametrize(
    ("models", "name", "words"),
    [
        (_json({"data": []}), None, "names no model"),
        (_json({"data": [{"id": "large"}]}), "small", "has no model small"),
        (_raw(b"<html>", "text/html"), None, "does not speak"),
        (_json([1]), None, "does not speak"),
        (_json({}, 401), None, "refuses the key"),
        (_json({"data": [{"id": 7}, 8]}), None, "names no model"),
    ],
)
async def test_a_server_without_the_model_is_refused(models: Handler, name: str | None, words: str) -> None:
    async with _server(model=name) as (server, model):
        server.models = models
        with pytest.raises(Refused, match=words):
            await model.load()


async def test_a_name_is_known_with_or_without_its_tag_and_a_server_may_list_nothing() -> None:
    async with _server(model="qwen3") as (server, model):
        server.models = _json({"data": [{"id": "qwen3:latest"}]})
        await model.load()
    async with _server(model="mine") as (server, model):
        server.models = _json({}, 404)
        assert (await model.answer(judge("x"))).text == ANSWER


@pytest.mark.parametrize(
    ("path", "said", "sees"),
    [
        ("/props", {"modalities": {"vision": True}}, True),
        ("/props", {"modalities": {"vision": False}}, False),
        ("/api/show", {"capabilities": ["completion", "vision"]}, True),
        ("/api/show", {"capabilities": []}, False),
        ("/api/v0/models/small", {"type": "vlm"}, True),
        ("/nowhere", {}, False),
    ],
)
async def test_pictures_go_to_a_model_that_says_it_sees(path: str, said: Any, sees: bool) -> None:
    async with _server(sight=Sight.AUTO) as (server, model):
        server.others[path] = _json(said)
        await model.answer(LanguageRequest(prompt="look", pictures=(b"jpeg",)))
        assert model.status.sees_pictures is sees
        content = server.asked[-1]["messages"][-1]["content"]
        if sees:
            assert content[1]["image_url"]["url"] == "data:image/jpeg;base64,anBlZw=="
        else:
            assert content == "look"


async def test_an_address_with_a_path_is_taken_as_it_is() -> None:
    async with _server() as (server, _model):
        other = OpenAiModel(OpenAiOptions(url=f"{server.url}/v1/", sight=Sight.NO))
        assert (await other.answer(judge("x"))).text == ANSWER
        await other.close()


async def test_cached_tokens_are_known_as_llama_server_says_them() -> None:
    async with _server() as (server, model):
        end = _chunk(None, "stop", usage={"prompt_tokens": 30, "completion_tokens": 2}, timings={"cache_n": 20})
        server.chat = _sending(_chunk(ANSWER), end)
        assert (await model.answer(judge("x"))).tokens_evaluated == 10
