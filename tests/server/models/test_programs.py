# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs that are run for one job."""

import asyncio
import sys
from pathlib import Path

import pytest

from inference_server.models.programs import run_program

HANGS = "import pathlib, sys, time; pathlib.Path('begun').touch(); time.sleep(600)"


async def test_the_status_and_the_errors_are_returned(tmp_path: Path) -> None:
    code = "import os, sys; print('told', file=sys.stderr); print('not told'); sys.exit(int(os.environ['STATUS']))"
    assert await run_program(sys.executable, "-c", code, seconds=60, environment={"STATUS": "3"}) == (3, b"told\n")
    assert await run_program(sys.executable, "-c", "open('here', 'w')", seconds=60, folder=tmp_path) == (0, b"")
    assert (tmp_path / "here").exists()


async def test_one_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        await run_program(sys.executable, "-c", "import time; time.sleep(600)", seconds=0.1, folder=tmp_path)


async def test_one_that_nobody_waits_for_any_more_is_gone_before_its_caller_goes_on(tmp_path: Path) -> None:
    code = f"import os, pathlib; pathlib.Path('pid').write_text(str(os.getpid())); {HANGS}"
    running = asyncio.create_task(run_program(sys.executable, "-c", code, seconds=600, folder=tmp_path))
    async with asyncio.timeout(60):
        while not (tmp_path / "begun").exists():  # noqa: ASYNC110 - another process tells
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


async def test_one_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await run_program(str(tmp_path / "nothing"), seconds=60)
