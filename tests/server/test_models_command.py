# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi models`, as an operator calls it: in this process, and in one of its own on a terminal or none."""

import asyncio
import hashlib
import io
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import override

import pytest

from inference_server import cli
from inference_server.commands import models as command
from inference_server.core.model import Licence
from inference_server.models.catalogue import ModelEntry
from inference_server.models.store import ModelStore
from inference_server.settings import Settings
from tests.server.models.file_server import FileServer
from tests.support.home import sample_model
from tests.support.weights import models_folder

pytestmark = pytest.mark.usefixtures("data")

CONTENT = bytes(range(256)) * 4000
CALL = """
import sys
from inference_server import cli
from inference_server.commands import models
from inference_server.models.store import ModelStore
from tests.support.home import sample_model
entry = sample_model(sys.argv[1], bytes(range(256)) * 4000)
models._store = lambda settings: ModelStore(settings.models_folder, catalogue=[entry])
sys.exit(cli.main(sys.argv[2:]))
"""


def know(monkeypatch: pytest.MonkeyPatch, *entries: ModelEntry, free: int = 1 << 40) -> None:
    """Have a catalogue of these models, and room for so many bytes."""

    def store(settings: Settings) -> ModelStore:
        offline = settings.models.offline_folder
        return ModelStore(settings.models_folder, catalogue=entries, offline=offline, free=lambda _folder: free)

    monkeypatch.setattr(command, "_store", store)


async def run(*arguments: str) -> int:
    """Run a command beside the servers of this event loop."""
    return await asyncio.to_thread(cli.main, ("models", *arguments))


@asynccontextmanager
async def called(url: str, *arguments: str, terminal: int | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CALL, url, "models", *arguments),
        cwd=Path(__file__).parents[2],
        stdin=terminal if terminal is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=terminal if terminal is not None else asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_models_are_pulled_listed_verified_and_removed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    async with FileServer(CONTENT) as server:
        entry = replace(sample_model(server.url(), CONTENT), licence=Licence("Research only", commercial_use=False))
        other = replace(entry, id="other", files=(replace(entry.files[0], file_name="other.bin"),))
        know(monkeypatch, entry, other)
        assert await run("pull", "sample", "sample", "--all-for", "depth") == 0
    out, err = capsys.readouterr()
    downloads = data / "models" / "downloads"
    assert out.splitlines() == [str(downloads / "sample.bin"), str(downloads / "other.bin")]
    assert "Sample: 1.0 MB, licence Research only, which forbids commercial use" in err
    assert "sample: 100 % (1.0 of 1.0 MB)" in err
    assert "\r" not in err
    assert "\x1b" not in err
    assert await run("list", "--capability", "depth") == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(str(downloads / "sample.bin"))
    assert await run("verify") == 0
    assert capsys.readouterr().out.count("as published") == 2
    (downloads / "other.bin").write_bytes(b"damaged")
    assert await run("verify") == 1
    assert "WRONG" in capsys.readouterr().out
    assert await run("remove", "other") == 0
    assert "other is removed" in capsys.readouterr().out
    assert await run("remove", "other") == 1
    assert "other is not installed" in capsys.readouterr().err


async def test_a_whole_tier_is_pulled_once_there_is_room_for_all_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    monkeypatch.setenv("HSI_HARDWARE__TIER", "cpu")
    async with FileServer(CONTENT) as server:
        sample = sample_model(server.url(), CONTENT)
        names = ("yolo26n", "osnet-x0-25", "other")
        files = {name: replace(sample.files[0], file_name=f"{name}.bin") for name in names}
        entries = [replace(sample, id=name, files=(file,)) for name, file in files.items()]
        know(monkeypatch, *entries, free=(100 << 20) + len(CONTENT))
        assert await run("pull", "--all-for", "cpu") == 1
        assert "All of them together needs" in capsys.readouterr().err
        assert server.ranges == []
        know(monkeypatch, *entries, free=(100 << 20) + 2 * len(CONTENT))
        assert await run("pull", "--all-for", "auto") == 0
        assert await run("pull", "--all-for", "cpu") == 0, "nothing is missing, so no room is needed"
    err = capsys.readouterr().err
    assert "The tier cpu: yolo26n, osnet-x0-25" in err
    assert "2.0 MB to download; 2.0 MB of disk in" in err
    assert "where 106.9 MB are free" in err
    assert {path.name for path in (data / "models" / "downloads").glob("*.bin")} == {"yolo26n.bin", "osnet-x0-25.bin"}
    with pytest.raises(SystemExit):
        await run("pull", "--all-for", "nvidia-9000")
    assert "nvidia-24gb" in capsys.readouterr().err


async def test_one_that_fails_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FileServer(CONTENT) as server:
        good = sample_model(server.url(), CONTENT)
        bad = replace(good, id="bad", files=(replace(good.files[0], file_name="bad.bin", sha256="0" * 64),))
        know(monkeypatch, bad, good)
        assert await run("pull", "bad", "sample") == 1
    out, err = capsys.readouterr()
    assert out.rstrip().endswith("sample.bin")
    assert "bad.bin has the SHA-256" in err
    assert "sample: done" in err


async def test_an_unpinned_model_shows_what_it_is_held_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FileServer(CONTENT) as server:
        entry = sample_model(server.url(), CONTENT)
        know(monkeypatch, replace(entry, files=(replace(entry.files[0], sha256=None, size_exact=False),)))
        assert await run("pull", "sample") == 1
        assert "--accept-unpinned" in capsys.readouterr().err
        assert await run("pull", "sample", "--accept-unpinned") == 0
    assert f"{hashlib.sha256(CONTENT).hexdigest()}  sample.bin" in capsys.readouterr().err


async def test_a_folder_that_was_carried_here_is_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path
) -> None:
    (tmp_path / "usb").mkdir()
    (tmp_path / "usb" / "anything").write_bytes(CONTENT)
    monkeypatch.setenv("HSI_MODELS__OFFLINE_FOLDER", str(tmp_path / "usb"))
    know(monkeypatch, sample_model(content=CONTENT))
    assert await run("pull", "sample") == 0
    assert (data / "models" / "downloads" / "sample.bin").read_bytes() == CONTENT


async def test_a_detector_is_imported_used_and_protected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path
) -> None:
    converted = next((models_folder() / "converted").glob("yolov3-tiny*.onnx"))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(converted.read_bytes()[:1000])
    assert await run("import", str(broken), "--as", "street") == 1
    assert "an ONNX model was expected" in capsys.readouterr().err
    assert await run("import", str(converted), "--as", "street") == 0
    assert "of the model street" in capsys.readouterr().out
    monkeypatch.setenv("HSI_DETECTOR__MODEL", "street")
    assert await run("pull") == 0
    assert capsys.readouterr().out.rstrip() == str(data / "models" / "street.onnx")
    assert await run("remove", "street") == 1
    assert "is the detector that the settings mean. Choose another one" in capsys.readouterr().err
    assert await run("remove", "street", "--force") == 0


async def test_weights_are_recognised_and_converted(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    assert await run("import", str(models_folder() / "downloads" / "yolov3-tiny.weights")) == 0
    out = capsys.readouterr().out
    assert "of the model yolov3-tiny" in out
    assert out.rstrip().endswith("converted/yolov3-tiny-512.onnx")
    assert (data / "models" / "converted" / "yolov3-tiny-512.onnx").exists()


async def test_ctrl_c_on_a_terminal_leaves_what_the_next_pull_goes_on_with(
    monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    """In a process of its own: somebody is asked, bars are drawn, and an interruption is told without a trace."""
    own, theirs = pty.openpty()
    async with FileServer(CONTENT) as server:
        server.gate = asyncio.Event()
        try:
            async with called(server.url(), "pull", "sample", terminal=theirs) as process:
                os.close(theirs)
                shown = await read_until(own, b"Download? [Y/n]")
                assert server.ranges == []
                os.write(own, b"y\n")
                shown += await read_until(own, b"0.0 of")
                process.send_signal(signal.SIGINT)
                rest = asyncio.create_task(asyncio.to_thread(_read_all, own))
                assert await process.wait() == 130
                shown += await rest
        finally:
            os.close(own)
        assert b"Sample: 1.0 MB, licence MIT" in shown
        assert b"\x1b[2Ksample: [......" in shown
        assert b"Interrupted. What was downloaded is kept" in shown
        assert b"Traceback" not in shown
        held = (data / "models" / "downloads" / "sample.bin.part").stat().st_size
        server.gate.set()
        know(monkeypatch, sample_model(server.url(), CONTENT))
        assert await run("pull", "sample") == 0
        assert server.ranges[1] == f"bytes={held}-"


async def read_until(terminal: int, text: bytes) -> bytes:
    """Read what is shown until something is."""
    shown = b""
    while text not in shown:
        shown += await asyncio.to_thread(os.read, terminal, 4096)
    return shown


@pytest.mark.parametrize(("answer", "status"), [("n", 1), ("no way", 1), ("", 0), ("Yes", 0)])
async def test_nothing_is_downloaded_against_a_no(
    monkeypatch: pytest.MonkeyPatch, answer: str, status: int, data: Path
) -> None:
    asked, told = Terminal(f"{answer}\n"), Terminal()
    monkeypatch.setattr("sys.stdin", asked)
    monkeypatch.setattr("sys.stderr", told)
    async with FileServer(CONTENT) as server:
        know(monkeypatch, sample_model(server.url(), CONTENT))
        assert await run("pull", "sample") == status
        assert len(server.ranges) == 1 - status
    assert "Download? [Y/n]" in told.getvalue()
    assert ("\x1b[2Ksample: done" in told.getvalue()) == (status == 0)


class Terminal(io.StringIO):
    """A text that calls itself a terminal."""

    @override
    def isatty(self) -> bool:
        return True


def _read_all(terminal: int) -> bytes:
    """Read until nobody is at the other end."""
    shown = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            return shown
        if not chunk:
            return shown
        shown += chunk
