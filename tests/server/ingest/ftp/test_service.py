# SPDX-License-Identifier: AGPL-3.0-or-later
"""The service around the sockets: starting, failing, being started again, and stopping."""

import ftplib
import io
import socket
import threading
import time
from pathlib import Path

import pytest

from inference_server.ingest.ftp import server
from inference_server.ingest.ftp.server import CameraServer
from inference_server.observability.health import HealthState
from inference_server.pipeline import supervise as supervision
from inference_server.settings import FtpSettings
from tests.support.ftp import FtpHouse
from tests.support.pictures import jpeg

PICTURE = jpeg(1, (640, 480))


def test_health_tells_where_it_listens_and_how_many_accounts_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ACCOUNTS_SECONDS", 0.02)
    with FtpHouse(tmp_path).running() as house:
        house.account("front_door")
        house.until(lambda: house.health.until(HealthState.OK).details["accounts"] == 1)
        assert house.health.until(HealthState.OK).details == {"port": house.port, "tls": "off", "accounts": 1}


def test_a_port_in_use_is_named_and_taken_when_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "RETRY_SECONDS", 0.05)
    house = FtpHouse(tmp_path)
    with socket.create_server(("127.0.0.1", house.port)) as other, house.running():
        told = house.health.until(HealthState.DOWN)
        assert told.last_error == f"FTP cannot listen on 127.0.0.1:{house.port}: Address already in use."
        assert "choose another with ftp.port" in (told.remedy or "")
        assert told.still_works is not None
        other.close()
        house.health.until(HealthState.OK)
        house.account("front_door")
        house.client().voidcmd("NOOP")


def test_a_host_that_is_not_this_machine_is_named(tmp_path: Path) -> None:
    with FtpHouse(tmp_path, settings=FtpSettings(host="192.0.2.1")).running() as house:
        assert "192.0.2.1" in (house.health.until(HealthState.DOWN).last_error or "")


def test_after_a_crash_it_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_DELAY_SECONDS", 0.05)
    monkeypatch.setattr(server, "ACCOUNTS_SECONDS", 0.02)
    crashes = [RuntimeError("something unexpected")]
    end_changed = CameraServer.end_changed

    def crash_once(self: CameraServer, *arguments: object) -> None:
        if crashes and self.sessions:
            raise crashes.pop()
        end_changed(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(CameraServer, "end_changed", crash_once)
    with FtpHouse(tmp_path).running() as house:
        house.account("front_door")
        client = house.connected()
        told = house.health.until(HealthState.DOWN)
        assert told.last_error == "RuntimeError: something unexpected"
        with pytest.raises((EOFError, ConnectionError)):
            client.getresp()
        house.health.until(HealthState.OK)
        house.until(lambda: not crashes and _listens(house.port))
        house.client().storbinary("STOR 1.jpg", io.BytesIO(PICTURE))


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_stopping_during_an_upload_is_quick_and_loses_that_upload_alone(tmp_path: Path) -> None:
    house = FtpHouse(tmp_path)
    with house.running():
        house.account("front_door")
        idle, uploading = house.client(), house.client()
        idle.storbinary("STOR 1.jpg", io.BytesIO(PICTURE))
        uploading.voidcmd("TYPE I")
        data = uploading.transfercmd("STOR 2.jpg")
        data.sendall(PICTURE[:5000])
        house.until(lambda: house.part("2.jpg").exists() and house.part("2.jpg").stat().st_size == 5000)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ftp")]
    for client in (idle, uploading):
        with pytest.raises(ftplib.error_temp, match="421 The server stops"):
            client.getresp()
    assert [path.name for path in house.camera().glob("*.jpg")] == ["1.jpg"]
    with house.running():
        client = house.client()
        assert client.size("2.jpg") == 5000
        client.storbinary("STOR 2.jpg", io.BytesIO(PICTURE[5000:]), rest=5000)
    assert (house.camera() / "2.jpg").read_bytes() == PICTURE


def test_a_watch_root_that_goes_away_ends_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CLEANING_SECONDS", 0.0)
    monkeypatch.setattr(server, "ACCOUNTS_SECONDS", 0.02)
    with FtpHouse(tmp_path).running() as house:
        house.account("front_door")
        client = house.client()
        house.root.rename(tmp_path / "unmounted")
        with pytest.raises(ftplib.error_perm, match="550 No such file or directory"):
            client.storbinary("STOR 1.jpg", io.BytesIO(PICTURE))
        (tmp_path / "unmounted").rename(house.root)
        client.storbinary("STOR 1.jpg", io.BytesIO(PICTURE))
