# SPDX-License-Identifier: AGPL-3.0-or-later
"""The analyst service: what OpenAI's own client, our own and any other one get from it."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import openai
import psutil
import pytest

from inference_server.analyst_service.service import AnalystService, AnalystServiceMisplacedError
from inference_server.risk.analyst.language_model import Busy, LanguageAnswer, ModelDown, Refused, TimedOut
from inference_server.risk.analyst.llama.process import COMMAND
from inference_server.risk.analyst.openai import OpenAiModel, OpenAiOptions
from inference_server.settings import AnalystBackend, AnalystSettings, Settings
from scripts.development.process import free_port
from tests.support.analyst_service import PATIENCE_SECONDS, TOKEN, GatedModel, RunningAnalyst, running_analyst
from tests.support.language import LEVELS, hybrid_path, judge


@pytest.fixture
def hybrid() -> Path:
    """The tiny hybrid model."""
    return hybrid_path()


def _client(service: RunningAnalyst, key: str = TOKEN) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0)


async def test_our_own_client_gets_answers_in_a_schema_and_the_prefix_is_read_once(
    tmp_path: Path, hybrid: Path
) -> None:
    async with running_analyst(tmp_path, hybrid) as service:
        model = OpenAiModel(OpenAiOptions(url=service.url, key=TOKEN))
        pieces: list[str] = []
        first = await model.answer(judge("a cat"), pieces.append)
        second = await model.answer(judge("a dog"))
        assert LEVELS.problem(first.value) is None
        assert "".join(pieces).strip() == first.text
        assert first.tokens_evaluated == first.tokens_in
        assert second.tokens_evaluated <= 0.2 * second.tokens_in
        assert model.status.model == "hybrid-of-random-numbers-1.gguf"
        with pytest.raises(Refused, match="room for 4096"):
            await model.answer(judge("word " * 9000))
        await model.close()
        health = await service.health()
        assert (health["status"], health["engine"], health["context_tokens"]) == ("ok", "llama.cpp", 4096)
        assert health["queue"] == {"waiting": 0, "running": 0, "most": 32}
        assert health["tokens_per_second"] > 0


async def test_openais_own_client_gets_whole_and_streamed_answers(tmp_path: Path, hybrid: Path) -> None:
    async with running_analyst(tmp_path, hybrid) as service, _client(service) as client:
        [listed] = (await client.models.list()).data
        asked: dict[str, Any] = {
            "model": listed.id,
            "messages": [{"role": "system", "content": "Judge."}, {"role": "user", "content": "a cat"}],
            "max_completion_tokens": 64,
            "temperature": 0,
            "seed": 5,
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": LEVELS.value}},
        }
        whole = await client.chat.completions.create(**asked)
        said = whole.choices[0].message.content or ""
        assert LEVELS.problem(json.loads(said)) is None
        assert whole.choices[0].finish_reason == "stop"
        assert whole.usage is not None
        assert whole.usage.prompt_tokens + whole.usage.completion_tokens == whole.usage.total_tokens
        again = await client.chat.completions.create(**asked)
        assert again.choices[0].message.content == said
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
        ]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip() == said
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
        short = await client.chat.completions.create(**{**asked, "max_completion_tokens": 2})
        assert short.choices[0].finish_reason == "length"
        with pytest.raises(openai.NotFoundError, match="There is no model other"):
            await client.chat.completions.create(**{**asked, "model": "other"})
    async with (
        running_analyst(tmp_path / "2", GatedModel()) as service,
        _client(service, "wrong-wrong-wrong") as client,
    ):
        with pytest.raises(openai.AuthenticationError, match="The token is wrong"):
            await client.models.list()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "the last one is the user's"),
        ({"messages": [{"role": "system", "content": "x"}]}, "the last one is the user's"),
        ({"n": 2}, "one answer is given at a time"),
        ({"tools": [{}]}, "tools is not supported"),
        ({"logprobs": True}, "logprobs is not supported"),
        ({"top_p": 0.5}, "top_p is not supported"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"stop": ["x"] * 9}, "stop"),
        ({"response_format": {"type": "json_schema"}}, "json_schema is missing"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "number", "minimum": 0}}}},
            "a grammar cannot keep",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
            "none is fetched",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}}],
                    }
                ]
            },
            "sees no pictures",
        ),
    ],
)
async def test_what_cannot_be_answered_is_refused_in_words(tmp_path: Path, body: dict[str, Any], words: str) -> None:
    async with running_analyst(tmp_path, GatedModel()) as service:
        whole = body if "messages" in body or not body else {"messages": [{"role": "user", "content": "x"}], **body}
        status, told, headers = await service.post(whole)
        assert status == 400
        assert words in told["error"]["message"]
        assert told["error"]["code"] == "invalid_request"
        assert headers["X-Request-ID"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"7"])
async def test_a_body_of_nonsense_is_refused(tmp_path: Path, body: bytes) -> None:
    async with (
        running_analyst(tmp_path, GatedModel()) as service,
        service.client.post(f"{service.url}/v1/chat/completions", data=body) as response,
    ):
        assert response.status == 400


async def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with running_analyst(tmp_path, GatedModel(), max_bytes=1024) as service:
        status, told, _ = await service.chat("x" * 2000)
        assert (status, told["error"]["code"]) == (413, "too_large")


async def test_the_parts_of_a_conversation_reach_the_model(tmp_path: Path) -> None:
    model = GatedModel()
    async with running_analyst(tmp_path, model) as service:
        messages = [
            {"role": "system", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": "b"}]},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d"},
            {"role": "user", "content": [{"type": "text", "text": "e"}, {"type": "text", "text": "f"}]},
        ]
        status, told, _ = await service.post({"messages": messages, "stop": "z", "top_p": 1, "store": False})
        assert (status, told["choices"][0]["message"]["content"]) == (200, "e f")
        assert told["usage"]["prompt_tokens_details"] == {"cached_tokens": 6}
        [asked] = model.asked
        assert (asked.prefix, asked.prompt, asked.stop) == ("a\n\nb", "e\nf", ("z",))
        assert [(turn.speaker, turn.text) for turn in asked.earlier] == [("user", "c"), ("assistant", "d")]


async def test_without_the_token_nobody_knows_more_than_that_it_lives(tmp_path: Path) -> None:
    async with running_analyst(tmp_path, GatedModel()) as service, aiohttp.ClientSession() as stranger:
        async with stranger.get(f"{service.url}/health") as response:
            assert set(await response.json()) == {"status", "model_loaded", "version"}
        for method, path in (("GET", "/metrics"), ("GET", "/v1/models"), ("POST", "/v1/chat/completions")):
            async with stranger.request(method, f"{service.url}{path}") as response:
                assert response.status == 401
                assert "analyst-token" in (await response.json())["error"]["message"]
        async with service.client.get(f"{service.url}/nowhere") as response:
            assert response.status == 404


async def test_a_full_queue_is_told_at_once(tmp_path: Path) -> None:
    model = GatedModel()
    async with running_analyst(tmp_path, model) as service:
        model.gate.clear()
        tasks = [asyncio.create_task(service.chat()) for _ in range(3)]
        await service.until_health(lambda told: told["queue"]["waiting"] == 2)
        status, told, headers = await service.chat()
        assert (status, told["error"]["code"]) == (429, "too_busy")
        assert int(headers["Retry-After"]) >= 1
        with pytest.raises(ModelDown) as busy:
            await OpenAiModel(OpenAiOptions(url=service.url, key=TOKEN)).answer(judge("x"))
        assert busy.value.retry_after == int(headers["Retry-After"])
        model.gate.set()
        assert [status for status, _, _ in await asyncio.gather(*tasks)] == [200] * 3


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_goes_away_ends_the_generation(tmp_path: Path, stream: bool) -> None:
    model = GatedModel()
    async with running_analyst(tmp_path, model) as service:
        model.gate.clear()
        leaving = asyncio.create_task(service.chat(stream=stream))
        await service.until_health(lambda told: told["queue"]["running"] == 1)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await asyncio.wait_for(model.ended.wait(), 30)
        await service.until_health(lambda told: told["queue"]["running"] == 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [(Busy("full", retry_after=3), 429), (ModelDown("dead"), 503), (Refused("too long"), 400), (TimedOut("slow"), 504)],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_model_says_went_wrong_has_its_status(
    tmp_path: Path,
    error: Any,
    status: int,
    stream: bool,
) -> None:
    model = GatedModel(error=error)
    async with running_analyst(tmp_path, model) as service:
        found, told, _ = await service.chat("", stream=stream)
        assert (found, told["error"]["message"]) == (status, str(error))


async def test_an_error_in_mid_stream_is_an_event(tmp_path: Path) -> None:
    model = GatedModel(error=ModelDown("it died"))
    async with running_analyst(tmp_path, model) as service:
        url = f"{service.url}/v1/chat/completions"
        asked = {"messages": [{"role": "user", "content": "one two"}], "stream": True}
        async with service.client.post(url, json=asked) as response:
            assert response.status == 200
            text = await response.text()
        assert '"content": "one"' in text
        assert "it died" in text
        assert "[DONE]" not in text
        with pytest.raises(ModelDown, match="it died"):
            await OpenAiModel(OpenAiOptions(url=service.url, key=TOKEN)).answer(judge("one two"))


async def test_a_model_that_reads_for_long_shows_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference_server.analyst_service.application.ALIVE_SECONDS", 0.1)
    model = GatedModel()
    async with running_analyst(tmp_path, model) as service:
        model.gate.clear()
        other = OpenAiModel(OpenAiOptions(url=service.url, key=TOKEN, stall_seconds=1))
        await other.load()
        answering = asyncio.create_task(other.answer(judge("one", schema=None)))
        await asyncio.wait({answering}, timeout=2)
        model.gate.set()
        assert (await answering).text == "one"
        await other.close()


async def test_metrics_count_requests_and_tokens(tmp_path: Path) -> None:
    async with running_analyst(tmp_path, GatedModel()) as service:
        await service.chat()
        async with service.client.get(f"{service.url}/metrics") as response:
            text = await response.text()
        assert 'hsi_analyst_requests_total{path="/v1/chat/completions",status="200"} 1.0' in text
        assert 'hsi_analyst_tokens_total{kind="cached"} 6.0' in text
        assert "hsi_analyst_model_loaded 1.0" in text


async def test_a_service_without_its_model_says_so_and_what_to_do(tmp_path: Path) -> None:
    async with running_analyst(tmp_path, tmp_path / "nothing.gguf", loaded=False) as service:
        health = await service.until_health(lambda told: told["status"] == "down")
        assert "does not exist" in health["message"]
        status, told, headers = await service.chat()
        assert (status, told["error"]["code"]) == (503, "not_ready")
        assert "does not exist" in told["error"]["message"]
        assert headers["Retry-After"]


async def test_the_first_start_makes_the_token(tmp_path: Path) -> None:
    async with running_analyst(tmp_path, GatedModel(), loaded=False, token=None) as service:
        token = (tmp_path / "data" / "analyst-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with service.client.get(f"{service.url}/v1/models", headers=headers) as response:
            assert response.status in {200, 503}


@pytest.mark.parametrize("backend", [AnalystBackend.OPENAI, AnalystBackend.OFF])
async def test_a_service_without_a_model_of_its_own_is_not_started(tmp_path: Path, backend: AnalystBackend) -> None:
    settings = Settings(data_dir=tmp_path, analyst=AnalystSettings(backend=backend, url="http://elsewhere"))
    with pytest.raises(AnalystServiceMisplacedError, match="llama_cpp"):
        AnalystService(settings)


async def test_the_command_serves_a_model_and_leaves_no_process_behind(tmp_path: Path, hybrid: Path) -> None:
    port = free_port()
    environment = {
        "PATH": os.defpath,
        "HSI_DATA_DIR": str(tmp_path),
        "HSI_ANALYST__MODEL_FILE": str(hybrid),
        "HSI_ANALYST_SERVICE__HOST": "127.0.0.1",
        "HSI_ANALYST_SERVICE__PORT": str(port),
        "HSI_ANALYST_SERVICE__TOKEN": TOKEN,
    }
    command = (sys.executable, "-m", "inference_server.cli", "serve", "--role", "analyst")
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    model = OpenAiModel(OpenAiOptions(url=f"http://127.0.0.1:{port}", key=TOKEN))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (answer := await _answer_if_up(model)) is None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
        assert LEVELS.problem(answer.value) is None
        children = psutil.Process(process.pid).children()
        [child] = [child for child in children if COMMAND[-1] in child.cmdline()]
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
        assert not child.is_running()
    finally:
        await model.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _answer_if_up(model: OpenAiModel) -> LanguageAnswer | None:
    try:
        return await model.answer(judge("a cat", prefix=""))
    except ModelDown:
        return None
