# SPDX-License-Identifier: AGPL-3.0-or-later
"""The detector service is killed in the middle of its work: what stands in for it judges, and then it does again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inference_server.core.worker import Role
from scripts.development.process import free_port
from tests.faults.house import House, house, tells
from tests.faults.pictures import Kind, kind_of
from tests.faults.process import Run, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = "the-token-of-the-house"


@asynccontextmanager
async def _with_service(folder: Path, fallback: str) -> AsyncIterator[tuple[House, Server]]:
    """Give a home that asks a detector service, and the service; neither runs yet."""
    port = free_port()
    service = Server(
        {
            "HSI_DATA_DIR": str(folder / "service"),
            "HSI_DETECTOR_SERVICE__HOST": "127.0.0.1",
            "HSI_DETECTOR_SERVICE__PORT": str(port),
            "HSI_DETECTOR_SERVICE__TOKEN": TOKEN,
        },
        folder / "service.log",
        Role.DETECTOR,
    )
    remote = {
        "HSI_DETECTOR__BACKEND": "remote",
        "HSI_DETECTOR__REMOTE__URL": f"http://127.0.0.1:{port}",
        "HSI_DETECTOR__REMOTE__TOKEN": TOKEN,
        "HSI_DETECTOR__REMOTE__TIMEOUT_SECONDS": "2",
        "HSI_DETECTOR__REMOTE__FALLBACK": fallback,
    }
    try:
        async with house(folder / "home", more=remote) as home:
            yield home, service
    finally:
        await service.kill()


def _judged_by(who: str) -> Any:
    return lambda told: told["detector"]["details"].get("judged_by") == who


async def _settled(home: House) -> None:
    """Check that everything was judged once, but what nobody can judge."""
    ledger = await home.done()
    assert {kind_of(frame.number) for frame in ledger.frames if frame.state == "dead"} <= {Kind.UNJUDGEABLE}


async def test_when_the_service_dies_the_servers_own_detector_judges_until_it_is_back(tmp_path: Path) -> None:
    async with _with_service(tmp_path, "local") as (home, service):
        service.start(Run(detector_seconds=0.02))
        home.start()
        async with home.pouring(pictures=80):
            told = await home.until_health(_judged_by("detector service"))
            assert told["detector"]["state"] == "ok"
            assert told["detector"]["details"]["provider"].startswith("Numbers at http://127.0.0.1")
            await home.until_judged()
            await service.kill()
            told = await home.until_health(lambda told: tells(told["detector"], "degraded"))
            assert _judged_by("this machine")(told)
            assert "cannot be reached" in told["detector"]["last_error"]
            assert "judges meanwhile" in told["detector"]["remedy"]
            await home.until_judged()
            service.start(Run(detector_seconds=0.02))
            told = await home.until_health(_judged_by("detector service"))
            assert (told["detector"]["state"], told["detector"]["last_error"]) == ("ok", None)
            await home.until_judged()
        await _settled(home)


async def test_without_a_stand_in_pictures_wait_for_the_service(tmp_path: Path) -> None:
    async with _with_service(tmp_path, "none") as (home, service):
        home.start()
        home.cameras.send(20, Kind.PERSON)
        told = await home.until_health(lambda told: tells(told.get("detector")))
        assert "cannot be reached" in told["detector"]["last_error"]
        assert (await home.balanced()).judged == 0
        service.start()
        await _settled(home)
        await service.kill()
        home.cameras.send(20, Kind.TWO_PEOPLE)
        told = await home.until_health(lambda told: tells(told["detector"]))
        assert told["ingest"]["state"] == "ok"
        service.start()
        await _settled(home)
