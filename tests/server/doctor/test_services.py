# SPDX-License-Identifier: AGPL-3.0-or-later
"""Databases, Redis, hosts, ports and the detector: real ones, and broken ones."""

import asyncio
import os
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from alembic.script import ScriptDirectory

from inference_server.core.diagnosis import Finding, FindingState
from inference_server.core.hardware import TierName
from inference_server.detection.backends import openvino
from inference_server.doctor import database, detector, network, ports
from inference_server.hardware.tiers import TIERS
from inference_server.settings import Device, Settings
from inference_server.storage.database import Database, migration_config
from tests.server.detection.graphs import constant_model, end_to_end
from tests.support.bench import ScriptedDetector
from tests.support.detector_service import TOKEN, GatedDetector, running_service
from tests.support.home import MovableClock
from tests.support.services import PostgreSql, Redis

OK, WARNING, PROBLEM = FindingState
NOTHING = end_to_end((0, 0, 0, 0, 0, 0))
TIER = TIERS[TierName.CPU]


async def _made(file: Path) -> Database:
    made = Database(file)
    await made.open()
    return made


def _revision(file: Path, revision: str) -> None:
    with closing(sqlite3.connect(file)) as opened:
        opened.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        opened.commit()


def test_a_database_of_another_program_is_a_problem(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "hsi.db")) as opened:
        opened.execute("CREATE TABLE recipes (name TEXT)")
    (finding,) = database.sqlite(tmp_path / "hsi.db")
    assert (finding.state, "of another program" in finding.found) == (PROBLEM, True)
    (tmp_path / "empty.db").touch()
    (finding,) = database.sqlite(tmp_path / "empty.db")
    assert (finding.state, "tables are made at the next start" in finding.found) == (OK, True)


async def test_a_database_that_is_up_to_date_is_read_without_a_trace(tmp_path: Path) -> None:
    file = tmp_path / "hsi.db"
    assert [finding.state for finding in database.sqlite(file)] == [OK]
    assert list(tmp_path.iterdir()) == []
    made = await _made(file)
    async with made.writing():  # a server has it open, and is writing
        (finding,) = database.sqlite(file)
        assert (finding.state, "up to date" in finding.found) == (OK, True)
    await made.close()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (finding,) = database.sqlite(file)
    assert (finding.state, "up to date" in finding.found) == (OK, True)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


async def test_databases_of_other_versions_and_broken_ones(tmp_path: Path) -> None:
    file = tmp_path / "hsi.db"
    await (await _made(file)).close()
    _revision(file, "from_the_future")
    (finding,) = database.sqlite(file)
    assert (finding.state, "newer version" in finding.found) == (PROBLEM, True)
    script = ScriptDirectory.from_config(migration_config())
    _revision(file, script.get_base() or "")
    (finding,) = database.sqlite(file)
    assert (finding.state, "older version" in finding.found) == (OK, True)
    file.write_bytes(b"no database" * 500)
    (finding,) = database.sqlite(file)
    assert finding.state is PROBLEM
    assert "restore a backup" in (finding.remedy or "")


async def test_postgresql_is_reached_or_not(postgresql: PostgreSql, unused_tcp_port: int) -> None:
    where = postgresql.migrated_database().set(drivername="postgresql")

    async def look(url: str) -> Finding:
        (finding,) = await database.postgresql(Settings.model_validate({"database_url": url}))
        return finding

    up_to_date = await look(where.render_as_string())
    assert (up_to_date.state, "up to date" in up_to_date.found) == (OK, True)
    empty = await look(postgresql.database().set(drivername="postgresql").render_as_string())
    assert (empty.state, "empty" in empty.found) == (OK, True)
    down = await look(f"postgresql://hsi:geheim@127.0.0.1:{unused_tcp_port}/hsi")
    assert down.state is PROBLEM
    assert "geheim" not in down.found
    assert "HSI_DATABASE_URL" in (down.remedy or "")


async def test_redis_is_reached_or_not(redis: Redis, unused_tcp_port: int) -> None:
    async def look(url: str | None) -> list[Finding]:
        return list(
            await database.redis(Settings.model_validate({"database_url": "postgresql://db/hsi", "redis_url": url}))
        )

    assert await look(None) == []
    (well,) = await look(redis.url)
    assert (well.state, "at 127.0.0.1" in well.found) == (OK, True)
    (down,) = await look(f"redis://:geheim@127.0.0.1:{unused_tcp_port}/0")
    assert down.state is PROBLEM
    assert "geheim" not in down.found


type Host = Callable[[str | None], str]


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """Give a host that tells a Date that can be chosen; None means that it never answers."""
    told: list[str | None] = [None]

    async def answer(request: web.Request) -> web.Response:
        assert request.method == "HEAD"
        if told[0] is None:
            await asyncio.Event().wait()
        return web.Response(status=404, headers={"Date": told[0] or ""})

    application = web.Application()
    application.router.add_route("*", "/", answer)
    async with TestServer(application) as server:

        def choose(date: str | None) -> str:
            told[0] = date
            return str(server.make_url("/"))

        yield choose


async def _network(clock: MovableClock, *addresses: str, **settings: object) -> list[Finding]:
    found = await network.look(Settings.model_validate(settings), clock, addresses, seconds=0.5)
    return list(found)


@pytest.mark.parametrize(
    ("off", "state", "told"),
    [
        (timedelta(seconds=5), OK, "as other hosts say"),
        (timedelta(seconds=45), WARNING, "45 s ahead"),
        (timedelta(days=-1), PROBLEM, "86400 s behind"),
    ],
)
async def test_the_clock_is_compared_with_those_of_hosts(
    host: Host, off: timedelta, state: FindingState, told: str
) -> None:
    clock = MovableClock()
    reached, time, _ = await _network(clock, host(format_datetime(clock.now() - off, usegmt=True)))
    assert (reached.state, time.state) == (OK, state)
    assert told in time.found


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Nov 9999 99:99:99 GMT", "\u00e9"])
async def test_a_date_that_is_none_says_nothing(host: Host, date: str) -> None:
    _, time, _ = await _network(MovableClock(), host(date))
    assert (time.state, "no host could be asked" in time.found) == (OK, True)


async def test_hosts_that_do_not_answer_are_a_warning(host: Host, unused_tcp_port: int) -> None:
    silent, refused, broken, time, _ = await _network(
        MovableClock(), host(None), f"http://127.0.0.1:{unused_tcp_port}", "http://[nonsense"
    )
    assert {silent.state, refused.state, broken.state} == {WARNING}
    assert silent.found.endswith("it does not answer")
    assert time.state is OK


async def test_a_name_that_nobody_knows_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go, waited_for = threading.Event(), []

    def ask(*_given: object, **_more: object) -> list[object]:
        waited_for.append(not threading.current_thread().daemon)
        let_go.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    silent, _, _ = await _network(MovableClock(), "https://models.example")
    let_go.set()
    assert silent.found == "models.example cannot be reached: it does not answer"
    assert waited_for == [False]


async def test_a_clock_before_this_program_was_made_is_wrong() -> None:
    time, _ = await _network(MovableClock(datetime(1970, 1, 2, tzinfo=UTC)))
    assert time.state is PROBLEM


async def test_a_time_zone_that_nobody_set_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _, zone = await _network(MovableClock(), time_zone="Europe/Berlin")
    assert zone.state is OK
    monkeypatch.setenv("TZ", "")
    monkeypatch.setattr("inference_server.settings.Path.resolve", lambda _path: Path("/usr/share/zoneinfo/Etc/UTC"))
    monkeypatch.delenv("TZ")
    _, zone = await _network(MovableClock())
    assert (zone.state, "HSI_TIME_ZONE" in (zone.remedy or "")) == (WARNING, True)


def test_sources_name_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:geheim@index.example/simple")
    found = network.sources()
    assert "https://index.example" in found
    assert "https://github.com" in found
    assert not any("geheim" in address for address in found)
    for nonsense in ("nonsense", "http://[", "file:///srv/index"):
        monkeypatch.setenv("PIP_INDEX_URL", nonsense)
        assert network.DEFAULT_INDEX in network.sources()


@pytest.fixture
def taken() -> Iterator[int]:
    """Give a port on which somebody listens who says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


async def _ports(**settings: object) -> list[Finding]:
    return list(await ports.look(Settings.model_validate(settings)))


async def test_ports_are_free_or_taken(unused_tcp_port: int, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "SECONDS", 0.3)
    (free,) = await _ports(api={"port": unused_tcp_port})
    assert (free.state, free.found) == (OK, f"API: port {unused_tcp_port} is free")
    (busy,) = await _ports(api={"port": taken})
    assert (busy.state, "taken by another program" in busy.found) == (PROBLEM, True)
    assert "HSI_API__PORT" in (busy.remedy or "")


async def test_our_own_server_may_have_the_ports(taken: int) -> None:
    async def health(_request: web.Request) -> web.Response:
        return web.Response(text='{"status":"ok","version":"0.1.0"}', content_type="application/json")

    application = web.Application()
    application.router.add_get("/api/system/health", health)
    async with TestServer(application) as server:
        ftp = {"enabled": True, "port": taken, "tls": "off", "passive_ports": "30000-30001"}
        findings = await _ports(api={"port": server.port}, ftp=ftp)
    assert [finding.state for finding in findings[:2]] == [OK, OK]
    assert findings[0].found.endswith("our own server runs")
    texts = [finding.found for finding in findings[2:] if finding.state is WARNING]
    assert any("in clear" in text for text in texts)
    assert any("only 2 uploads" in text for text in texts)


async def test_what_ftp_cannot_use_is_told(tmp_path: Path, taken: int, unused_tcp_port: int) -> None:
    ftp = {"enabled": True, "port": unused_tcp_port, "certificate_file": tmp_path / "none.pem"}
    if taken >= 1024:
        ftp["passive_ports"] = f"{taken}-{taken}"
    findings = await _ports(api={"port": 8000}, ftp=ftp)
    assert any(finding.state is WARNING and f"taken: {taken}" in finding.found for finding in findings)
    assert any(finding.state is PROBLEM and "none.pem cannot be read" in finding.found for finding in findings)


async def test_a_privileged_port_needs_the_right(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    monkeypatch.setattr(ports, "_first_free", lambda: 65535)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (finding,) = await _ports(api={"port": unused_tcp_port})
    assert (finding.state, "privileged" in finding.found) == (WARNING, True)


def _detector(folder: Path, **settings: object) -> Finding:
    made = Settings.model_validate({"models_dir": folder, "detector": settings})
    (finding,) = detector.look(made, TIER, lambda: None)
    return finding


def test_a_detector_infers_a_picture(tmp_path: Path) -> None:
    missing = _detector(tmp_path)
    assert (missing.state, "yolo26n is not installed" in missing.found) == (WARNING, True)
    assert "hsi models pull yolo26n" in (missing.remedy or "")
    constant_model(tmp_path / "yolov3-tiny.onnx", NOTHING)
    stands_in = _detector(tmp_path)
    assert (stands_in.state, "stands in for yolo26n" in stands_in.found) == (OK, True)
    constant_model(tmp_path / "yolo26n.onnx", NOTHING)
    well = _detector(tmp_path)
    assert well.found.startswith("yolo26n can be loaded on CPUExecutionProvider: ")
    assert well.found.endswith("ms a picture")
    own = constant_model(tmp_path / "mine.onnx", NOTHING)
    assert _detector(tmp_path, model_file=own).found.startswith("mine can be loaded")


def test_a_broken_detector_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "yolo26n.onnx").write_bytes(b"no model")
    finding = _detector(tmp_path)
    assert finding.state is PROBLEM
    assert "an ONNX model was expected" in finding.found
    assert finding.remedy == f"Remove {tmp_path / 'yolo26n.onnx'}, and have it fetched anew: hsi models pull yolo26n."
    absent = _detector(tmp_path, model_file=tmp_path / "none.onnx")
    assert "found no such file" in absent.found
    assert "HSI_DETECTOR__MODEL_FILE" in (absent.remedy or "")


def test_what_the_detector_lacks_is_told_once_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(openvino._NODES, Device.GPU, ("/dev/no-such-device",))
    constant_model(tmp_path / "yolo26n.onnx", NOTHING)
    settings = Settings.model_validate({"models_dir": tmp_path, "detector": {"backend": "openvino", "device": "gpu"}})
    lacking, judges = detector.look(settings, TIER, lambda: None)
    assert (lacking.state, judges.state) == (WARNING, OK)
    assert lacking.found.endswith("It runs on CPUExecutionProvider instead.")
    assert (lacking.remedy or "").endswith("or set detector.device to cpu.")


async def test_a_detector_elsewhere_is_tried(tmp_path: Path) -> None:
    async def told(url: str, **more: str) -> Finding:
        remote = {"url": url, "token": TOKEN} | more
        settings = Settings.model_validate({"detector": {"backend": "remote", "remote": remote}})
        (finding,) = await detector.elsewhere(settings)
        return finding

    async with running_service(tmp_path / "there", GatedDetector()) as service:
        well = await told(service.url)
        assert (well.state, well.found) == (OK, f"Gated judges on Gate at {service.url}")
        refused = await told(service.url, token="another-token-than-that-one")
        assert (refused.state, "refuses the token" in refused.found) == (WARNING, True)
        assert "detector-token" in (refused.remedy or "")
    down = await told(service.url, fallback="none")
    assert (down.state, "cannot be reached" in down.found) == (PROBLEM, True)
    assert list(await detector.elsewhere(Settings())) == []


def test_a_detector_that_runs_is_asked_itself(tmp_path: Path) -> None:
    scripted = ScriptedDetector()
    (finding,) = detector.look(Settings(models_dir=tmp_path), TIER, lambda: scripted)
    assert finding.state is OK
    assert len(scripted.calls) == detector.RUNS
