# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections: passive and active, IPv4 and IPv6, and what they are kept from."""

import ftplib
import io
import socket
import time
from pathlib import Path
from random import Random

import pytest

from inference_server.settings import FtpSettings
from tests.support.ftp import FtpHouse
from tests.support.pictures import jpeg

PICTURE = jpeg(1)


def store(client: ftplib.FTP, name: str, content: bytes = PICTURE) -> str:
    return client.storbinary(f"STOR {name}", io.BytesIO(content))


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_data_comes_in_on_the_ports_of_the_range(house: FtpHouse) -> None:
    client = house.client()
    for number in range(30):
        assert client.makepasv()[1] in house.settings.passive_range
        store(client, f"{number}.jpg")
    assert len(list(house.camera().glob("*.jpg"))) == 30


def test_extended_passive_mode(house: FtpHouse) -> None:
    client = house.client()
    answer = client.sendcmd("EPSV")
    assert int(answer.split("|")[3]) in house.settings.passive_range


def test_when_all_ports_are_taken_the_client_is_told(tmp_path: Path) -> None:
    port = Random().randrange(21000, 30000)
    with FtpHouse(tmp_path, settings=FtpSettings(passive_ports=f"{port}-{port}")).running() as house:
        house.account("front_door")
        first, second = house.client(), house.client()
        first.sendcmd("PASV")
        with pytest.raises(ftplib.error_temp, match="425 No passive port is free"):
            second.sendcmd("PASV")
        assert store(first, "1.jpg").startswith("226")
        assert store(second, "2.jpg").startswith("226")


def test_cameras_are_told_the_address_that_reaches_the_server(tmp_path: Path) -> None:
    settings = FtpSettings.model_validate({"passive_address": "192.0.2.7"})
    with FtpHouse(tmp_path, settings=settings).running() as house:
        house.account("front_door")
        client = house.client()
        assert "(192,0,2,7," in client.sendcmd("PASV")
        assert store(client, "1.jpg").startswith("226")


@pytest.mark.parametrize("command", ["PORT", "EPRT"])
def test_active_mode(house: FtpHouse, command: str) -> None:
    client = house.client()
    client.set_pasv(False)
    if command == "EPRT":
        client.makeport = lambda: _extended_port(client)  # type: ignore[method-assign]
    assert store(client, "1.jpg").startswith("226")
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def _extended_port(client: ftplib.FTP) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    client.sendeprt("127.0.0.1", listener.getsockname()[1])
    return listener


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("PORT 192,0,2,1,78,52", "501 Rejected data connection to foreign address"),
        ("EPRT |1|192.0.2.1|20020|", "501 Rejected data connection to foreign address"),
        ("PORT 127,0,0,1,0,80", "501 PORT against the privileged port"),
        ("PORT 127,0,0,1,0", "501 Invalid PORT format"),
        ("PORT 1,2,3,4,5,6,7", "501 Invalid PORT format"),
        ("PORT a,b,c,d,e,f", "501 Invalid PORT format"),
        ("EPRT |1|127.0.0.1|99999|", "501 Invalid EPRT format"),
        ("EPRT |3|127.0.0.1|2000|", "501 Unknown network protocol"),
    ],
)
def test_the_server_connects_to_nobody_but_its_client(house: FtpHouse, command: str, answer: str) -> None:
    with pytest.raises(ftplib.error_perm, match=answer):
        house.client().sendcmd(command)


def test_data_from_another_address_is_refused(house: FtpHouse) -> None:
    client = house.client()
    client.voidcmd("TYPE I")
    host, port = client.makepasv()
    foreign = socket.create_connection((host, port), 10, source_address=("127.0.0.2", 0))
    with foreign, pytest.raises(ftplib.error_temp, match="425 Rejected data connection from foreign address"):
        client.getresp()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(("listening", "client_host"), [("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1")])
@pytest.mark.parametrize("passive", [True, False])
def test_ipv6(tmp_path: Path, listening: str, client_host: str, passive: bool) -> None:
    with FtpHouse(tmp_path, settings=FtpSettings(host=listening)).running() as house:
        house.account("front_door")
        client = house.client(host=client_host)
        client.set_pasv(passive)
        assert store(client, "1.jpg").startswith("226")
        assert client.nlst() == ["1.jpg"]


def test_an_upload_is_no_faster_than_allowed_and_slows_no_other(tmp_path: Path) -> None:
    with FtpHouse(tmp_path, settings=FtpSettings(max_bytes_per_second=200_000)).running() as house:
        house.account("front_door")
        client, other = house.client(), house.client()
        began = time.monotonic()
        client.voidcmd("TYPE I")
        data = client.transfercmd("STOR large.jpg")
        data.settimeout(30)
        data.sendall(b"x" * 800_000)
        data.close()
        assert store(other, "1.jpg").startswith("226")
        assert not (house.camera() / "large.jpg").exists()
        client.voidresp()
        assert time.monotonic() - began > 1.5
        assert (house.camera() / "large.jpg").stat().st_size == 800_000


def test_a_camera_that_falls_silent_is_ended_and_can_resume(tmp_path: Path) -> None:
    house = FtpHouse(tmp_path)
    house.settings = house.settings.model_copy(update={"idle_seconds": 1})
    with house.running():
        house.account("front_door")
        idle, busy = house.client(), house.client()
        busy.voidcmd("TYPE I")
        data = busy.transfercmd("STOR 1.jpg")
        data.sendall(PICTURE[:100])
        with pytest.raises(ftplib.error_temp, match="421 Data connection timed out"):
            busy.voidresp()
        with pytest.raises(ftplib.error_temp, match="421 Control connection timed out"):
            idle.getresp()
        assert house.part("1.jpg").stat().st_size == 100
