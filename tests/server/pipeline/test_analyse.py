# SPDX-License-Identifier: AGPL-3.0-or-later
"""The analyst in the pipeline: on either database, with a model that follows a script."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from inference_server.core.announcement import AnnouncementKind
from inference_server.core.assessment import AssessmentSource, RiskLevel
from inference_server.core.detection import Box, Detection, Label
from inference_server.core.message import Message, StageName
from inference_server.core.status import AnalystState
from inference_server.pipeline.analyst import Counted
from inference_server.pipeline.breaker import ServiceDownError, ServiceError
from inference_server.pipeline.explaining import asked_for
from inference_server.pipeline.redis_broker import RedisBroker
from inference_server.pipeline.sql_broker import SqlBroker
from inference_server.pipeline.stage import run_stage
from inference_server.pipeline.streams import Streams
from inference_server.risk.analyst.language_model import LanguageRequest, ModelDown, TimedOut
from inference_server.storage import dead_letters, events
from tests.support.bench import a_person
from tests.support.explained import Explained, ScriptedModel, as_the_rules, explained, says
from tests.support.services import PostgreSql, Redis

CAT = Detection(Label.CAT, 0.8, Box(20, 20, 10, 8))
CAR = Detection(Label.CAR, 0.9, Box(30, 20, 20, 12))


@pytest.fixture
async def home(tmp_path: Path, where: URL | None) -> AsyncIterator[Explained]:
    """Give a pipeline with an analyst on either database."""
    async with explained(tmp_path, where=where) as made:
        yield made


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[Explained]:
    """Give one on SQLite."""
    async with explained(tmp_path) as made:
        yield made


async def test_a_verdict_takes_the_place_of_the_rules_and_is_told(home: Explained) -> None:
    home.model.script = lambda _request: says(33, "A person is at the camera.", reasoning="T1 is a person.")
    await home.see(a_person())
    (event,) = await home.bench.events()
    assert (event.assessment.score, event.assessment.verified) == (20, False)
    await home.bench.told()
    await home.explain()
    (event,) = await home.bench.events()
    verdict = event.assessment
    assert (verdict.score, verdict.source, verdict.verified) == (33, AssessmentSource.MODEL, True)
    assert verdict.summary == "A person is at the camera."
    assert verdict.reasoning.startswith("Analyst: T1 is a person. Rules: person_seen +20")
    assert [factor.name for factor in verdict.factors] == ["person_seen", "analyst"]
    assert verdict.analysis is not None
    assert (verdict.analysis.model, verdict.analysis.rules_score, verdict.analysis.tokens_out) == ("Scripted", 20, 40)
    (told,) = await home.bench.told()
    assert (told.kind, told.previous_level) == (AnnouncementKind.EVENT_ASSESSED, RiskLevel.LOW)
    assert told.event == event
    assert told.camera is not None
    assert told.camera.score == 33
    assert [item.source.value for item in await home.history()] == ["rules", "model"]
    assert await home.waiting() == 0


async def test_without_an_analyst_no_messages_are_made(tmp_path: Path) -> None:
    async with explained(tmp_path, wanted=False) as home:
        await home.see(a_person())
        home.bench.clock.move(minutes=5)
        await home.bench.work()
        assert await home.waiting() == 0


async def test_animals_alone_and_low_scores_are_not_explained(tmp_path: Path) -> None:
    async with explained(tmp_path, from_score=15) as home:
        await home.see(CAT)
        await home.see(CAR, camera="street")
        assert await home.waiting() == 0
        await home.see(a_person(), camera="yard")
        assert await home.waiting() == 1


async def test_a_verdict_stands_while_the_rules_find_the_same(quick: Explained) -> None:
    quick.model.script = lambda _request: says(35)
    await quick.see(a_person())
    await quick.explain()
    for _ in range(3):
        quick.bench.clock.move(seconds=5)
        await quick.see(a_person())
    (event,) = await quick.bench.events()
    assert event.frame_count == 4
    assert (event.assessment.score, event.assessment.verified) == (35, True)
    assert len(await quick.history()) == 2
    assert await quick.waiting() == 0


async def test_what_changes_the_rules_ends_it_and_is_asked_about_after_a_rest(quick: Explained) -> None:
    await quick.see(a_person())
    await quick.explain()
    quick.bench.clock.move(seconds=5)
    await quick.see(a_person(), a_person(x=40))
    (event,) = await quick.bench.events()
    assert (event.assessment.source, event.assessment.verified) == (AssessmentSource.RULES, False)
    await quick.explain()
    assert len(quick.model.asked) == 1
    quick.bench.clock.move(seconds=24)
    await quick.explain()
    assert len(quick.model.asked) == 1
    quick.bench.clock.move(seconds=2)
    await quick.explain()
    assert len(quick.model.asked) == 2
    (event,) = await quick.bench.events()
    assert event.assessment.verified


@pytest.mark.parametrize("changes", [False, True])
async def test_the_end_is_explained_once_more_only_if_something_changed(quick: Explained, changes: bool) -> None:
    await quick.see(a_person())
    await quick.explain()
    quick.bench.clock.move(seconds=10)
    await quick.see(a_person(), *([CAT] if changes else []))
    assert (await quick.bench.events())[0].assessment.verified
    quick.bench.clock.move(minutes=2)
    await quick.bench.work()
    await quick.explain()
    (event,) = await quick.bench.events()
    assert not event.is_open
    assert event.assessment.verified
    assert len(quick.model.asked) == (2 if changes else 1)
    assert await quick.waiting() == 0


async def test_after_an_hour_without_it_the_most_serious_is_explained_first(tmp_path: Path, where: URL | None) -> None:
    async with explained(tmp_path, ScriptedModel(down=True), where=where) as home:
        await _an_hour_without_it(home)


async def _an_hour_without_it(home: Explained) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(home.analyst.ready(), 0.05)
    await home.see(CAR, camera="street")
    await home.see(a_person(), camera="yard")
    home.bench.clock.move(minutes=20)
    await home.see(a_person(), camera="door")
    await home.see(a_person(), a_person(x=40), camera="garden")
    home.bench.clock.move(minutes=40)
    await home.bench.work()
    found = await home.bench.events()
    assert [event.assessment.verified for event in found] == [False] * 4
    assert home.analyst.status.state is AnalystState.DOWN
    async with home.bench.database.reading() as connection:
        assert await dead_letters.count(connection) == 0
    assert (await home.bench.broker.status()).depth == 0
    assert await home.waiting() == 4
    home.model.down = False
    await home.explain()
    by_camera = {event.id: event.camera_id for event in found}
    assert [by_camera[subject] for subject in home.model.subjects] == ["garden", "yard", "door", "street"]
    after = await home.bench.events()
    assert all(event.assessment.verified for event in after)
    assert [event.assessment.score for event in after] == [event.assessment.score for event in found]
    told = [item for item in await home.bench.told() if item.kind is AnnouncementKind.EVENT_ASSESSED]
    assert len(told) == 4


async def test_what_waited_for_too_long_is_let_go_and_counted(quick: Explained) -> None:
    await quick.see(a_person())
    quick.bench.clock.move(hours=25)
    await quick.explain()
    assert await quick.waiting() == 0
    assert quick.model.asked == []
    assert quick.analyst.counts[Counted.TOO_OLD] == 1
    assert not (await quick.bench.events())[0].assessment.verified


async def test_an_answer_that_is_none_is_asked_for_once_more(quick: Explained) -> None:
    def script(request: LanguageRequest) -> object:
        return says(25) if request.earlier else '{"score": 1000}'

    quick.model.script = script
    await quick.see(a_person())
    await quick.explain()
    first, second = quick.model.asked
    assert (second.temperature, second.prefix, second.schema) == (0.0, first.prefix, first.schema)
    assert [turn.text for turn in second.earlier] == [first.prompt, '{"score": 1000}']
    assert "does not fit" in second.prompt
    assert (await quick.bench.events())[0].assessment.score == 25
    assert quick.analyst.counts[Counted.REPAIRED] == 1


async def test_two_bad_answers_leave_the_rules_assessment_unverified(quick: Explained) -> None:
    quick.model.script = lambda _request: "I think all is well."
    await quick.see(a_person())
    await quick.explain()
    (event,) = await quick.bench.events()
    assert (event.assessment.source, event.assessment.verified) == (AssessmentSource.RULES, False)
    assert len(quick.model.asked) == 2
    assert await quick.waiting() == 0
    assert quick.analyst.counts[Counted.REFUSED] == 1
    shown = next(part for part in quick.bench.health.components if part.name == "analyst")
    assert shown.details["refused"] == 1
    assert "no JSON" in str(shown.details["last_refusal"])


async def test_an_answer_about_what_has_changed_meanwhile_is_broken_off(home: Explained) -> None:
    home.model.thinking.clear()
    await home.see(a_person())
    await home.analyst.ready()
    asking = asyncio.create_task(home.bench.work(home.analyse))
    await asyncio.wait_for(home.model.began.wait(), 10)
    await home.see(a_person(), a_person(x=40))
    await asyncio.wait_for(asking, 10)
    assert home.model.cancelled == 1
    assert home.analyst.counts[Counted.SUPERSEDED] == 1
    home.model.thinking.set()
    home.bench.clock.move(seconds=31)
    await home.explain()
    (event,) = await home.bench.events()
    assert event.assessment.verified
    assert event.assessment.analysis is not None
    assert event.assessment.analysis.rules_score == event.assessment.score > 20


async def test_more_of_the_same_meanwhile_does_no_harm_to_an_answer(home: Explained) -> None:
    home.model.thinking.clear()
    await home.see(a_person())
    await home.analyst.ready()
    asking = asyncio.create_task(home.bench.work(home.analyse))
    await asyncio.wait_for(home.model.began.wait(), 10)
    home.bench.clock.move(seconds=3)
    await home.see(a_person())
    await asyncio.sleep(0.05)
    home.model.thinking.set()
    await asyncio.wait_for(asking, 10)
    (event,) = await home.bench.events()
    assert (event.frame_count, event.assessment.verified) == (2, True)
    assert (home.model.cancelled, await home.waiting()) == (0, 0)


async def test_a_model_that_dies_leaves_the_message_and_is_opened_again(quick: Explained) -> None:
    answers: list[object] = [ModelDown("It died.")]
    quick.model.script = lambda request: answers.pop() if answers else as_the_rules(request)
    await quick.see(a_person())
    await quick.analyst.ready()
    working = asyncio.create_task(run_stage(quick.analyse, quick.bench.broker, quick.bench.health))
    async with asyncio.timeout(10):
        await quick.model.began.wait()
        quick.bench.clock.move(seconds=31)
        await quick.until_done()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert answers == []
    assert (await quick.bench.events())[0].assessment.verified
    assert quick.model.opened == 2
    async with quick.bench.database.reading() as connection:
        assert await dead_letters.count(connection) == 0


async def _claimed(home: Explained) -> Message:
    (message,) = await home.bench.broker.claim(StageName.ANALYSE, 1)
    return message


async def test_an_event_at_which_the_model_always_dies_is_given_up_once_others_were_answered(quick: Explained) -> None:
    quick.model.script = lambda request: (
        ModelDown("It died.") if request.subject == "event 1" else as_the_rules(request)
    )
    await quick.see(a_person())
    for number in range(2):
        await quick.analyst.ready()
        message = await _claimed(quick)
        with pytest.raises(ServiceDownError) as caught:
            await quick.analyse.consume([message])
        assert caught.value.tried is (number == 1)
        await quick.bench.broker.release([message])
        quick.bench.clock.move(seconds=31)
    await quick.see(a_person(), camera="yard")
    await quick.analyst.ready()
    both = await quick.bench.broker.claim(StageName.ANALYSE, 2)
    await quick.analyse.consume([message for message in both if message.work.subject_id != 1])
    await quick.analyse.consume([message for message in both if message.work.subject_id == 1])
    assert await quick.waiting() == 0
    assert quick.analyst.counts[Counted.REFUSED] == 1


async def test_an_event_that_takes_too_long_is_given_up_and_no_dead_letter(quick: Explained) -> None:
    quick.model.script = lambda _request: TimedOut("There was no answer within 1 s.", "Use a smaller model.")
    await quick.see(a_person())
    await quick.analyst.ready()
    for _ in range(2):
        with pytest.raises(ServiceError):
            await quick.analyse.consume([message := await _claimed(quick)])
        await quick.bench.broker.release([message])
        quick.bench.clock.move(seconds=31)
    await quick.explain()
    assert await quick.waiting() == 0
    assert quick.analyst.counts[Counted.REFUSED] == 1
    assert not (await quick.bench.events())[0].assessment.verified


async def test_two_workers_share_the_work(home: Explained) -> None:
    for number in range(6):
        await home.see(a_person(), camera=f"camera{number}")
    await home.analyst.ready()
    second = SqlBroker(home.bench.database, home.bench.clock, worker="two")
    stages = [(home.analyse, home.bench.broker), (home.stage(second), second)]
    working = [asyncio.create_task(run_stage(stage, broker, home.bench.health)) for stage, broker in stages]
    async with asyncio.timeout(20):
        await home.until_done()
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    assert sorted(home.model.subjects) == [1, 2, 3, 4, 5, 6]
    assert all(event.assessment.verified for event in await home.bench.events())


async def test_a_restart_in_the_middle_loses_nothing_and_judges_once(tmp_path: Path) -> None:
    async with explained(tmp_path) as before:
        before.model.thinking.clear()
        await before.see(a_person())
        await before.analyst.ready()
        asking = asyncio.create_task(before.bench.work(before.analyse))
        await asyncio.wait_for(before.model.began.wait(), 10)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        clock = before.bench.clock
    clock.move(minutes=5)
    async with explained(tmp_path, clock=clock) as after:
        await after.bench.broker.recover()
        await after.explain()
        (event,) = await after.bench.events()
        assert event.assessment.verified
        assert [item.source.value for item in await after.history()] == ["rules", "model"]


async def test_what_the_owner_asks_for_comes_first_and_is_explained_again(quick: Explained) -> None:
    await quick.see(a_person())
    await quick.explain()
    quick.bench.clock.move(minutes=3)
    await quick.bench.work()
    await quick.see(a_person(), a_person(x=40), camera="yard")
    quick.model.script = lambda _request: says(30)
    event = (await quick.bench.events())[0]
    async with quick.bench.broker.transaction() as transaction:
        await transaction.wish([asked_for(event, quick.bench.clock.now())])
    await quick.explain()
    assert quick.model.subjects == [1, 1, 2]
    assert (await quick.bench.events())[0].assessment.score == 30
    assert await quick.waiting() == 0


async def test_the_rules_judge_again_by_what_was_known_then(quick: Explained) -> None:
    """The home may have changed since: an hour later the analyst is told what was so."""
    await quick.see(a_person())
    quick.bench.clock.move(hours=1)
    await quick.explain()
    assert "Unknown" in quick.model.asked[0].prompt
    async with quick.bench.database.reading() as connection:
        found = await events.analysable(connection, 1)
    assert found is not None
    assert found.evidence is not None


async def test_a_model_that_sees_is_shown_the_best_picture(quick: Explained) -> None:
    quick.model.sees_pictures = True
    await quick.see(a_person())
    await quick.explain()
    (picture,) = quick.model.asked[0].pictures
    assert picture.startswith(b"\xff\xd8")


async def test_an_event_that_is_gone_is_let_go(quick: Explained) -> None:
    await quick.see(a_person())
    async with quick.bench.database.writing() as connection:
        await connection.exec_driver_sql("UPDATE events SET deleted_at = '2026-11-23 09:00:00'")
    await quick.explain()
    assert (quick.model.asked, await quick.waiting()) == ([], 0)


async def test_on_redis_what_is_more_serious_overtakes(tmp_path: Path, postgresql: PostgreSql, redis: Redis) -> None:
    async with explained(tmp_path, where=postgresql.migrated_database()) as home:
        made = home.bench
        streams = Streams(redis.url, prefix=f"test:{made.database.url.database}", worker="one")
        broker = RedisBroker(made.database, made.clock, streams=streams, health=made.health, worker="one")
        await broker.deliver()
        for number in range(5):
            await home.see(CAR, camera=f"street{number}")
        await broker.deliver()
        await home.see(a_person(), a_person(x=40), camera="garden")
        await home.analyst.ready()
        stage = home.stage(broker)
        while await home.waiting():
            await broker.deliver()
            await stage.consume(await broker.claim(StageName.ANALYSE, 1))
        garden = next(event.id for event in await made.events() if event.camera_id == "garden")
        assert home.model.subjects.index(garden) == 1
        assert sorted(home.model.subjects) == [1, 2, 3, 4, 5, 6]
        assert all(event.assessment.verified for event in await made.events())
        await broker.close()


async def test_on_redis_a_change_meanwhile_is_asked_about_again(
    tmp_path: Path, postgresql: PostgreSql, redis: Redis
) -> None:
    async with explained(tmp_path, where=postgresql.migrated_database()) as home:
        made = home.bench
        streams = Streams(redis.url, prefix=f"test:{made.database.url.database}", worker="one")
        broker = RedisBroker(made.database, made.clock, streams=streams, health=made.health, worker="one")
        stage = home.stage(broker)
        home.model.thinking.clear()
        await home.see(a_person())
        await home.analyst.ready()
        await broker.deliver()
        (message,) = await broker.claim(StageName.ANALYSE, 1)
        asking = asyncio.create_task(stage.consume([message]))
        await asyncio.wait_for(home.model.began.wait(), 10)
        await home.see(a_person(), a_person(x=40))
        await asyncio.wait_for(asking, 10)
        assert (home.model.cancelled, await home.waiting()) == (1, 1)
        home.model.thinking.set()
        made.clock.move(seconds=31)
        await broker.deliver()
        await stage.consume(await broker.claim(StageName.ANALYSE, 1))
        assert (await made.events())[0].assessment.verified
        assert await home.waiting() == 0
        await broker.close()
