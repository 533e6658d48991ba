# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi dead-letters`, as an operator calls it: beside a running server and without one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from inference_server.cli import main
from inference_server.core.message import Failure, StageName
from inference_server.pipeline import sql_broker
from inference_server.pipeline.retry import PermanentError
from inference_server.pipeline.stage import run_stage
from tests.support.bench import CAMERA, Bench, a_person, bench

PATIENCE_SECONDS = 20


@pytest.fixture(params=["sqlite", "postgresql"])
async def site(request: pytest.FixtureRequest, data: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Give a pipeline on the data folder that the commands use, on each kind of database."""
    where: URL | None = None
    if request.param == "postgresql":
        where = request.getfixturevalue("postgresql").database()
        monkeypatch.setenv("HSI_DATABASE_URL", str(where.set(drivername="postgresql")))
    data.mkdir()
    async with bench(data, where=where) as made:
        yield made


async def _fail(site: Bench, failure: Failure, camera: str = CAMERA) -> None:
    """Let a picture with a person fail for good."""
    await site.take(site.picture(a_person(), camera=camera))
    (message,) = await site.broker.claim(StageName.DETECT, 1)
    await site.broker.bury(message, failure)


async def _hsi(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = await asyncio.to_thread(main, ("dead-letters", *arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


async def test_each_is_listed_with_its_reason_and_shown_with_its_trace(
    site: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    await _fail(site, Failure("it broke", "detector", "Traceback\n  line 1\n  line 2"))
    await _fail(site, Failure("no luck"), camera="yard")
    status, out, _ = await _hsi(capsys, "list")
    assert status == 0
    second, first, summary = out.splitlines()
    assert first.split() == ["1", "2026-11-23", "08:00", "detect", CAMERA, "[detector]", "it", "broke"]
    assert second.split() == ["2", "2026-11-23", "08:00", "detect", "yard", "no", "luck"]
    assert summary == "Shown: 2 of 2 dead letters. Discarded: 0."
    status, out, _ = await _hsi(capsys, "show", "1")
    assert status == 0
    details, trace, _ = out.partition("Traceback\n  line 1\n  line 2\n")
    assert trace
    shown = dict(line.split(maxsplit=1) for line in details.splitlines())
    assert (shown["subject"], shown["reason"], shown["attempts"], shown["replays"]) == ("frame 1", "it broke", "1", "0")
    assert Path(shown["picture"]).is_file()


async def test_a_list_is_narrowed_and_cut(site: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    await _fail(site, Failure("first", "detector"))
    await _fail(site, Failure("second"), camera="yard")
    for arguments in (("--camera", CAMERA), ("--service", "detector"), ("--service", "detector", "--stage", "detect")):
        _, out, _ = await _hsi(capsys, "list", *arguments)
        assert "first" in out
        assert "second" not in out
        assert "Shown: 1 of 1" in out
    _, out, _ = await _hsi(capsys, "list", "--limit", "1")
    assert "second" in out
    assert "Shown: 1 of 2" in out


async def test_a_name_in_a_reason_does_nothing_to_the_terminal(site: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    await _fail(site, Failure("bad\x1b]0;title\x07\nname\u202e", None, "trace \x1b[2J"))
    for arguments in (("list",), ("show", "1")):
        status, out, _ = await _hsi(capsys, *arguments)
        assert status == 0
        assert "bad" in out
        assert not {"\x1b", "\x07", "\u202e"} & set(out)


async def test_a_running_server_judges_what_is_sent_back(
    site: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_broker, "LONGEST_WAIT_SECONDS", 0.05)
    await _fail(site, Failure("broken"))
    seen = site.announced.count
    running = [
        asyncio.create_task(run_stage(stage, site.broker, site.health))
        for stage in (site.detect, site.gather, site.close)
    ]
    status, out, _ = await _hsi(capsys, "replay", "1")
    assert (status, out) == (0, "Sent back to their stages: 1.\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await site.announced.wait(seen)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert [event.frame_count for event in await site.events()] == [1]
    assert "Shown: 0 of 0" in (await _hsi(capsys, "list"))[1]


async def test_a_server_that_starts_later_judges_what_was_sent_back(
    site: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    for service in ("detector", "detector", None):
        await _fail(site, Failure("broken", service))
    assert (await _hsi(capsys, "replay", "--service", "detector"))[:2] == (0, "Sent back to their stages: 2.\n")
    assert (await _hsi(capsys, "replay", "--stage", "gather"))[:2] == (0, "Sent back to their stages: 0.\n")
    await site.work()
    assert [event.frame_count for event in await site.events()] == [2]
    assert (await _hsi(capsys, "replay", "--all"))[:2] == (0, "Sent back to their stages: 1.\n")
    await site.work()
    assert [event.frame_count for event in await site.events()] == [3]


async def test_what_is_discarded_is_counted_and_not_tried_again(
    site: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        await _fail(site, Failure("broken"))
    assert (await _hsi(capsys, "discard", "2"))[:2] == (0, "Discarded: 1.\n")
    assert "Shown: 2 of 2 dead letters. Discarded: 1." in (await _hsi(capsys, "list"))[1]
    assert "discarded" in (await _hsi(capsys, "show", "2"))[1]
    status, out, err = await _hsi(capsys, "replay", "1", "2", "1", "99")
    assert (status, out) == (1, "Sent back to their stages: 1.\n")
    assert err == "".join(f"There is no dead letter {number}: see hsi dead-letters list.\n" for number in (2, 99))
    assert (await _hsi(capsys, "discard", "--all"))[:2] == (0, "Discarded: 1.\n")
    await site.work()
    assert [event.frame_count for event in await site.events()] == [1]


async def test_a_trace_that_was_not_kept_and_a_letter_that_is_not_there_are_explained(
    site: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    await _fail(site, Failure("broken"))
    assert "No trace was kept." in (await _hsi(capsys, "show", "1"))[1]
    status, _, err = await _hsi(capsys, "show", "7")
    assert (status, err) == (1, "There is no dead letter 7: see hsi dead-letters list.\n")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("command", ["replay", "discard"])
@pytest.mark.parametrize("arguments", [(), ("1", "--all"), ("--all", "--stage", "detect"), ("1", "--camera", "x")])
async def test_nothing_or_two_things_chosen_changes_nothing(
    capsys: pytest.CaptureFixture[str], command: str, arguments: tuple[str, ...]
) -> None:
    status, out, err = await _hsi(capsys, command, *arguments)
    assert (status, out) == (2, "")
    assert "--all" in err


@pytest.mark.parametrize(
    ("arguments", "explained"),
    [
        (("show", "0"), "hsi dead-letters list"),
        (("show", "9" * 5000), "hsi dead-letters list"),
        (("replay", "-1"), "usage"),
        (("replay", "1;2"), "hsi dead-letters list"),
        (("discard", "--camera", "\udcff"), "--camera"),
        (("list", "--service", "a b"), "--service"),
        (("list", "--stage", "fly"), "--stage"),
        (("list", "--limit", "0"), "--limit"),
        (("list", "--limit", "9999999"), "--limit"),
        ((), "usage"),
    ],
)
def test_an_argument_that_means_nothing_is_explained(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], explained: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(("dead-letters", *arguments))
    assert stopped.value.code == 2
    assert explained in capsys.readouterr().err


async def test_a_permanent_failure_of_a_stage_can_be_read_to_its_last_line(
    site: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.take(site.picture(fails=PermanentError("the detector breaks")))
    running = asyncio.create_task(run_stage(site.detect, site.broker, site.health))
    buried = asyncio.Event()
    bury = site.broker.bury

    async def noted(*arguments: object) -> None:
        await bury(*arguments)  # type: ignore[arg-type]
        buried.set()

    monkeypatch.setattr(site.broker, "bury", noted)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await buried.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    _, out, _ = await _hsi(capsys, "show", "1")
    assert "PermanentError: the detector breaks" in out
    assert "raise seen\n" in out
