# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prompts over the API: read, stored, put to use, rolled back and tried."""

import asyncio
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from inference_server.api.context import ApiLimits
from inference_server.core.prompt import PromptKind
from inference_server.pipeline.prompting import seed_prompts
from inference_server.risk.prompts.case import Case, Period
from inference_server.risk.prompts.rendering import Rendered
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.risk.prompts.trial import AnalystUnavailable, Opinion
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import Home
from tests.support.rows import stored

TEXT = newest_shipped(PromptKind.ANALYST).text
OWN = TEXT.replace('name = "Standard"', 'name = "Strict"').replace(
    "You are the security", "You are the strict security"
)
VERSIONS = "/api/prompts/analyst/versions"
TEST = "/api/prompts/analyst/test"


class ScriptedAnalyst:
    """Gives a score by what the prefix says, and nothing at all about one camera."""

    def __init__(self) -> None:
        """Remember what is asked."""
        self.asked: list[Rendered] = []
        self.hangs = False

    async def judge(self, case: Case, rendered: Rendered) -> Opinion:
        """Return 80 to the strict prompt and 20 to another."""
        self.asked.append(rendered)
        if self.hangs:
            await asyncio.Event().wait()
        if case.camera == "Broken":
            raise AnalystUnavailable("The analyst is loading.", "Ask again in a minute.")
        score = 80 if "the strict security" in rendered.prefix else 20
        return Opinion(score=score, model_score=score + 5, summary="A person.", reasoning="T1.", seconds=0.5)

    async def summarise(self, period: Period, rendered: Rendered) -> str:
        """Return how many events there were."""
        self.asked.append(rendered)
        return f"{len(period.events)} events."


@pytest.fixture
async def client(a_home: Home, connect: Connect) -> Client:
    """Give a client of the scope admin, of a server that knows the shipped prompts."""
    await _seed(a_home)
    return await connect(Scope.ADMIN)


async def _seed(home: Home) -> None:
    async with home.database.writing() as connection:
        await seed_prompts(connection, home.clock)


async def _get(client: TestClient[Any, Any], path: str) -> Any:
    response = await client.get(path)
    assert response.status == 200, await response.text()
    return await response.json()


async def _post(client: TestClient[Any, Any], path: str, body: object = None, status: int = 200) -> Any:
    response = await client.post(path, json=body) if body is not None else await client.post(path)
    assert response.status == status, await response.text()
    return await response.json()


async def test_what_prompts_there_are_and_what_they_may_be_made_of(client: Client) -> None:
    analyst, summary = (await _get(client, "/api/prompts"))["items"]
    assert (analyst["kind"], analyst["active"], analyst["versions"]) == ("analyst", 1, 1)
    assert {"name": "camera", "description": "the camera's name, quoted", "in_prefix": False} in analyst["variables"]
    assert [section["id"] for section in analyst["sections"] if section["core"]] == ["objects", "rules"]
    assert summary["kind"] == "summary"


async def test_a_version_is_stored_put_to_use_and_rolled_back(a_home: Home, client: Client) -> None:
    added = await _post(client, VERSIONS, {"text": OWN, "note": "for a trial"}, 201)
    assert (added["number"], added["name"], added["active"], added["created_by"]) == (2, "Strict", False, "test admin")
    assert (added["text"], added["warnings"], added["problem"]) == (OWN, [], None)
    assert [item["number"] for item in (await _get(client, VERSIONS))["items"]] == [2, 1]
    assert (await _post(client, f"{VERSIONS}/2/activate"))["active"] is True
    assert (await _get(client, "/api/prompts"))["items"][0]["active"] == 2
    assert (await _post(client, f"{VERSIONS}/1/activate"))["number"] == 1
    one, two = (await _get(client, f"{VERSIONS}/1")), (await _get(client, f"{VERSIONS}/2"))
    assert (one["active"], one["shipped"], one["created_by"], two["active"]) == (True, True, None, False)
    assert two["activated_at"] is not None
    assert "text" not in (await _get(client, VERSIONS))["items"][0]
    await _seed(a_home)
    assert (await _get(client, f"{VERSIONS}/1"))["active"] is True


async def test_only_a_version_that_was_never_in_use_is_removed(client: Client) -> None:
    await _post(client, VERSIONS, {"text": OWN}, 201)
    for number, status, code in ((1, 409, "prompt_in_use"), (9, 404, "prompt_not_found")):
        response = await client.delete(f"{VERSIONS}/{number}")
        assert (response.status, (await response.json())["code"]) == (status, code)
    assert (await client.delete(f"{VERSIONS}/2")).status == 204
    assert (await client.get(f"{VERSIONS}/2")).status == 404


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        (TEXT.replace("{low}", "{lo}"), "prompt_unusable", "line 15: the prefix"),
        (TEXT.replace('id = "rules"', 'id = "home"'), "prompt_unusable", "there twice"),
        ("no TOML", "prompt_unusable", "line 1: this is no TOML"),
        ("\x00", "prompt_unusable", "U+0000"),
        ("x" * 24_001, "invalid_request", "text"),
        ("", "invalid_request", "text"),
        (None, "invalid_request", "text"),
        (1e308, "invalid_request", "text"),
    ],
    ids=range(8),
)
async def test_what_is_no_prompt_is_refused_with_its_line_and_not_stored(
    client: Client, text: object, code: str, detail: str
) -> None:
    for path, body in ((VERSIONS, {"text": text}), (TEST, {"prompts": [{"text": text, "number": None}]})):
        problem = await _post(client, path, body, 422)
        assert problem["code"] == code
        assert detail in problem["detail"] or path == TEST
        assert problem["remedy"]
    assert len((await _get(client, VERSIONS))["items"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/prompts/poem/versions", 422, "invalid_request"),
        ("GET", f"{VERSIONS}/0", 422, "invalid_request"),
        ("GET", f"{VERSIONS}/9223372036854775807", 404, "prompt_not_found"),
        ("POST", f"{VERSIONS}/7/activate", 404, "prompt_not_found"),
        ("POST", f"{VERSIONS}?caller=me", 422, "invalid_request"),
    ],
)
async def test_what_does_not_exist_is_said(client: Client, method: str, path: str, status: int, code: str) -> None:
    response = await client.request(method, path, json={"text": OWN} if "caller" in path else None)
    assert (response.status, (await response.json())["code"]) == (status, code)


async def test_reading_needs_no_more_than_reading_and_changing_needs_the_owner(a_home: Home, connect: Connect) -> None:
    await _seed(a_home)
    for scope in (Scope.READ, Scope.INTEGRATION):
        client = await connect(scope)
        await _get(client, "/api/prompts")
        await _get(client, f"{VERSIONS}/1")
        for path in (VERSIONS, f"{VERSIONS}/1/activate", TEST):
            assert (await _post(client, path, {"text": OWN}, 403))["code"] == "forbidden"


async def test_without_an_analyst_a_trial_shows_what_would_be_sent(a_home: Home, client: Client) -> None:
    event = await a_home.ended_event(await a_home.camera())
    before = stored(a_home.file)
    result = await _post(client, TEST, {})
    assert result["prompts"] == [{"number": 1, "name": "Standard", "warnings": []}]
    (item,) = result["items"]
    assert (item["event_id"], item["rules"]) == (event.id, {"score": 20, "level": "low"})  # of its tracks, judged anew
    (sent,) = item["sent"]
    assert sent["prompt"].startswith("TIME\nW1 It is Monday, 08:00 at the home: day or evening.\n")
    assert 'C1 The camera is "Front door"' in sent["prompt"]
    assert (sent["left_out"], sent["answer"], sent["problem"]) == ([], None, None)
    assert {"T1", "T2", "F1"} <= set(sent["evidence_ids"])
    assert result["not_available"]["detail"]
    assert "docs/models.md" in result["not_available"]["remedy"]
    assert (await _post(client, TEST, {"ask": False}))["not_available"] is None
    assert stored(a_home.file) == before


async def test_two_prompts_are_compared_on_the_same_events(a_home: Home, connect: Connect) -> None:
    await _seed(a_home)
    a_home.prompt_analyst = analyst = ScriptedAnalyst()
    client = await connect(Scope.ADMIN)
    first = await a_home.ended_event(await a_home.camera())
    broken = await a_home.ended_event(await a_home.camera("broken"))
    before = stored(a_home.file)
    body = {"prompts": [{"number": 1}, {"text": OWN}], "event_ids": [first.id, broken.id]}
    result = await _post(client, TEST, body)
    mild, strict = result["items"][0]["sent"]
    assert (mild["answer"]["risk"], mild["answer"]["model_score"]) == ({"score": 20, "level": "low"}, 25)
    assert strict["answer"]["risk"] == {"score": 80, "level": "high"}
    assert [item["event_id"] for item in result["items"]] == [first.id, broken.id]
    failed = result["items"][1]["sent"][0]
    assert (failed["answer"], failed["problem"], failed["remedy"]) == (
        None,
        "The analyst is loading.",
        "Ask again in a minute.",
    )
    assert result["comparison"] == {
        "events": 1,
        "mean_difference": 60.0,
        "mean_absolute_difference": 60.0,
        "level_changes": [{"event_id": first.id, "first": "low", "second": "high"}],
    }
    assert result["not_available"] is None
    assert len(analyst.asked) == 4
    assert stored(a_home.file) == before


async def test_a_summary_is_tried_on_the_last_hours(a_home: Home, connect: Connect) -> None:
    await _seed(a_home)
    a_home.prompt_analyst = ScriptedAnalyst()
    client = await connect(Scope.ADMIN)
    await a_home.ended_event(await a_home.camera(), score=72)
    a_home.clock.move(minutes=30)
    (item,) = (await _post(client, "/api/prompts/summary/test", {"hours": 1}))["items"]
    (sent,) = item["sent"]
    assert "N1 Events: 1 (high 1); incidents: 0." in sent["prompt"]
    assert sent["answer"]["summary"] == "1 events."
    assert (item["event_id"], sent["answer"]["risk"]) == (None, None)


async def test_an_analyst_that_takes_too_long_is_left(a_home: Home, connect: Connect) -> None:
    await _seed(a_home)
    a_home.prompt_analyst = analyst = ScriptedAnalyst()
    analyst.hangs = True
    client = await connect(Scope.ADMIN, ApiLimits(trial_seconds=0.05))
    await a_home.ended_event(await a_home.camera())
    (item,) = (await _post(client, TEST, {}))["items"]
    assert "too long" in item["sent"][0]["problem"]


async def test_a_budget_that_is_too_small_names_the_setting(a_home: Home, client: Client) -> None:
    await a_home.ended_event(await a_home.camera())
    (item,) = (await _post(client, TEST, {"budget_tokens": 100}))["items"]
    (sent,) = item["sent"]
    assert "risk.prompt_tokens" in sent["remedy"]
    assert sent["tokens"] > 100
    roomy = (await _post(client, TEST, {"budget_tokens": sent["tokens"]}))["items"][0]["sent"][0]
    assert roomy["left_out"] == ["camera", "time", "home"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"event_ids": [99]}, 404, "event_not_found"),
        ({"prompts": [{"number": 99}]}, 404, "prompt_not_found"),
        ({"prompts": [{}]}, 422, "invalid_request"),
        ({"prompts": [{"number": 1, "text": OWN}]}, 422, "invalid_request"),
        ({"prompts": [{"number": 1}] * 3}, 422, "invalid_request"),
        ({"newest": 21}, 422, "invalid_request"),
        ({"hours": 1e308}, 422, "invalid_request"),
        ({"budget_tokens": -1}, 422, "invalid_request"),
        ({"event_ids": list(range(1, 22))}, 422, "invalid_request"),
    ],
)
async def test_a_trial_that_cannot_be_is_refused(client: Client, body: object, status: int, code: str) -> None:
    assert (await _post(client, TEST, body, status))["code"] == code


async def test_a_trial_of_a_home_without_events_is_empty(client: Client) -> None:
    assert (await _post(client, TEST, {}))["items"] == []
