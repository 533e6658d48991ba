# SPDX-License-Identifier: AGPL-3.0-or-later
"""The prompt in use, from the interface to what the next event would be asked with."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web
from aiohttp.test_utils import TestClient
from sqlalchemy import update

from inference_server.api.application import create_application
from inference_server.core.assessment import AssessmentSource
from inference_server.core.prompt import PromptKind
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.prompting import ActivePrompt, PromptCases, Prompts, seed_prompts
from inference_server.risk.prompts.rendering import Rendered, render
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.settings import RiskSettings
from inference_server.storage.tables import prompt_versions
from inference_server.storage.tokens import Scope
from tests.support.bench import Bench, a_person
from tests.support.home import Home

SHIPPED = newest_shipped(PromptKind.ANALYST).text
type Client = TestClient[web.Request, web.Application]


async def _next_prompt(bench: Bench) -> tuple[ActivePrompt, Rendered]:
    """Return what a worker would send about the newest event."""
    await bench.see(a_person())
    event = max(await bench.events(), key=lambda one: one.id)
    cases = PromptCases(RiskSettings(), ZoneInfo("UTC"), bench.clock)
    async with bench.database.reading() as connection:
        active = await Prompts(HealthBoard(bench.clock)).active(connection, PromptKind.ANALYST)
        case = await cases.of_event(connection, event)
    return active, render(case, active.prompt, RiskSettings().prompt_tokens)


async def test_the_version_that_is_activated_is_the_one_that_the_next_event_is_asked_with(
    a_bench: Bench, aiohttp_client: Callable[..., Awaitable[Client]]
) -> None:
    async with a_bench.database.writing() as connection:
        await seed_prompts(connection, a_bench.clock)
    first, before = await _next_prompt(a_bench)
    assert first.number == 1
    assert before.prefix.startswith("You are the security analyst of a private home.")
    assert "T1 person" in before.prompt
    assert 'C1 The camera is "Front door"' in before.prompt

    home = Home(a_bench.database, a_bench.media, a_bench.clock)
    headers = {"Authorization": f"Bearer {await home.token(Scope.ADMIN)}"}
    client = await aiohttp_client(create_application(home.context()), headers=headers)
    text = SHIPPED.replace("You are the security analyst", "Du bist der Wachmann").replace("OBJECTS", "THINGS")
    stored: dict[str, Any] = await (await client.post("/api/prompts/analyst/versions", json={"text": text})).json()
    assert (await _next_prompt(a_bench))[1].prefix == before.prefix

    await client.post(f"/api/prompts/analyst/versions/{stored['number']}/activate")
    second, after = await _next_prompt(a_bench)
    assert second.number == stored["number"] == 2
    assert after.prefix.startswith("Du bist der Wachmann of a private home.")
    assert "\nTHINGS\nT1 person" in f"\n{after.prompt}"

    await client.post("/api/prompts/analyst/versions/1/activate")
    back, again = await _next_prompt(a_bench)
    assert (back.number, again.prefix) == (1, before.prefix)


async def test_a_version_that_cannot_be_used_is_replaced_and_complained_of(a_bench: Bench) -> None:
    health = HealthBoard(a_bench.clock)
    async with a_bench.database.writing() as connection:
        await seed_prompts(connection, a_bench.clock)
        await connection.execute(update(prompt_versions).values(text='section = "of a later version"'))
    async with a_bench.database.reading() as connection:
        active = await Prompts(health).active(connection, PromptKind.ANALYST)
    assert (active.number, active.prompt.name) == (None, "Standard")
    (report,) = health.components
    assert (report.name, report.state) == ("prompts:analyst", HealthState.DEGRADED)
    assert "Version 1" in (report.last_error or "")
    assert "hsi prompts activate" in (report.remedy or "")


async def test_before_anything_is_stored_the_shipped_prompt_is_used(a_bench: Bench) -> None:
    async with a_bench.database.reading() as connection:
        active = await Prompts(HealthBoard(a_bench.clock)).active(connection, PromptKind.SUMMARY)
    assert (active.number, active.prompt.kind) == (None, PromptKind.SUMMARY)


async def test_an_hour_is_read_from_the_events_that_began_in_it(a_bench: Bench) -> None:
    begin = a_bench.clock.now()
    await a_bench.see(a_person())
    cases = PromptCases(RiskSettings(), ZoneInfo("Europe/Berlin"), a_bench.clock)
    end = a_bench.clock.move(hours=1)
    async with a_bench.database.reading() as connection:
        period = await cases.of_period(connection, begin, end)
        nothing = await cases.of_period(connection, end, end)
    (told,) = period.events
    assert (told.cameras, told.verified, told.started_at.tzinfo) == (("Front door",), False, ZoneInfo("Europe/Berlin"))
    assert nothing.events == ()


async def test_the_rules_own_words_stand_and_are_found_again_where_a_model_has_spoken(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    (event,) = await a_bench.events()
    cases = PromptCases(RiskSettings(), ZoneInfo("UTC"), a_bench.clock)
    verdict = replace(event.assessment, score=90, source=AssessmentSource.MODEL, factors=(), verified=True)
    spoken = replace(event, assessment=verdict)
    async with a_bench.database.reading() as connection:
        assert (await cases.of_event(connection, event)).assessment == event.assessment
        again = (await cases.of_event(connection, spoken)).assessment
    assert (again.source, again.score) == (AssessmentSource.RULES, event.assessment.score)
