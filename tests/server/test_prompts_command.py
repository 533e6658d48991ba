# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi prompts`, as an operator calls it."""

import asyncio
import io
from pathlib import Path

import pytest
from sqlalchemy import URL

from inference_server.cli import main
from inference_server.core.prompt import PromptKind
from inference_server.risk.prompts.shipped import newest_shipped
from tests.support.home import home

TEXT = newest_shipped(PromptKind.ANALYST).text

pytestmark = pytest.mark.usefixtures("data")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(("prompts", *arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_prompt_is_shown_changed_put_to_use_and_rolled_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, _ = _run(capsys, "show", "analyst")
    assert (status, out) == (0, TEXT)
    file = tmp_path / "mine.toml"
    file.write_text(out.replace('name = "Standard"', 'name = "Mine"'))
    status, out, err = _run(capsys, "add", "analyst", str(file), "--note", "a\x1btrial")
    assert (status, out, err) == (0, "analyst 2 is stored: hsi prompts activate analyst 2\n", "")
    assert _run(capsys, "activate", "analyst", "2")[0] == 0
    listed = _run(capsys, "list")[1].splitlines()
    assert [line.split()[:3] for line in listed[:1]] == [["analyst", "2", "active"]]
    assert listed[0].endswith("a trial")
    assert "Standard" in listed[1]
    assert 'name = "Mine"' in _run(capsys, "show", "analyst")[1]
    assert _run(capsys, "activate", "analyst", "1")[0] == 0
    assert _run(capsys, "show", "analyst")[1] == TEXT
    assert _run(capsys, "remove", "analyst", "2")[0] == 1
    monkeypatch.setattr("sys.stdin", io.StringIO(TEXT))
    assert _run(capsys, "add", "analyst", "-")[0] == 0
    assert _run(capsys, "remove", "analyst", "3")[0] == 0


def test_a_mistake_is_told_with_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TEXT.replace("{camera}", "{camara}"))
    status, out, err = _run(capsys, "add", "analyst", str(file))
    assert (status, out) == (1, "")
    assert f"{file}: line 54: the task knows no variable {{camara}}. It may have" in err
    file.write_bytes(b"\xff\xfe")
    assert "no text in UTF-8" in _run(capsys, "add", "analyst", str(file))[2]
    file.write_text(TEXT.replace('id = "home"\ntitle = "HOME"\nusefulness = 90\n\n[[section]]\n', ""))
    status, _, err = _run(capsys, "add", "analyst", str(file))
    assert (status, err) == (0, "Warning: It never tells: home.\n")
    assert _run(capsys, "add", "analyst", str(tmp_path / "nowhere"))[0] == 1


@pytest.mark.parametrize(
    "command", [("activate", "analyst", "7"), ("remove", "analyst", "7"), ("show", "summary", "7")]
)
def test_a_version_that_is_not_there(capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    status, _, err = _run(capsys, *command)
    assert status == 1
    assert "hsi prompts list" in err


def test_what_would_be_sent_is_shown(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    assert _run(capsys, "test", "analyst")[0] == 1
    status, out, _ = _run(capsys, "test", "summary", "--hours", "2")
    assert status == 0
    assert "N1 Events: 0; incidents: 0." in out
    assert data.exists()


async def test_what_would_be_sent_of_an_event_is_shown(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    data.mkdir()
    async with home(data, where=URL.create("sqlite+aiosqlite", database=str(data / "hsi.db"))) as made:
        event = await made.ended_event(await made.camera())
    status, out, _ = await asyncio.to_thread(_run, capsys, "test", "analyst", "--event", str(event.id), "--prefix")
    assert status == 0
    assert out.startswith("You are the security analyst")
    assert f"--- event {event.id}: about " in out
    assert "T2 bus" in out
