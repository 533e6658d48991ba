# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who comes in: accounts, wrong passwords, bans, and limits of connections."""

import ftplib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_server.ingest.ftp import bans, gate, server, session
from inference_server.ingest.ftp.bans import ADDRESSES, FAILURES, WINDOW, Bans
from inference_server.settings import FtpSettings
from inference_server.storage import ftp_accounts, passwords
from inference_server.storage.database import Database
from tests.support.ftp import PASSWORD, PATIENCE_SECONDS, FtpHouse, quick_hash
from tests.support.home import MovableClock


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not let answers wait."""
    monkeypatch.setattr(bans, "LONGEST_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(server, "ACCOUNTS_SECONDS", 0.05)


@pytest.fixture
def raw(house: FtpHouse) -> Iterator[socket.socket]:
    """A connection after the greeting."""
    with socket.create_connection(("127.0.0.1", house.port), PATIENCE_SECONDS) as connection:
        assert connection.recv(200).startswith(b"220")
        yield connection


def refused(house: FtpHouse, name: str, password: str) -> str:
    client = house.connected()
    with pytest.raises(ftplib.Error) as error:
        client.login(name, password)
    client.close()
    return str(error.value)


def remove(house: FtpHouse, name: str) -> None:
    async def removing(database: Database) -> None:
        async with database.writing() as connection:
            await ftp_accounts.remove(connection, name)

    house.do(removing)


def set_password(house: FtpHouse, name: str, password: str) -> None:
    async def setting(database: Database) -> None:
        async with database.writing() as connection:
            await ftp_accounts.set_password(connection, name, quick_hash(password))

    house.do(setting)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("front_door", "wrong password"),
        ("front_door", ""),
        ("front_door", PASSWORD + "x" * 1000),
        ("nobody", PASSWORD),
        ("anonymous", "me@example.com"),
        ("front_door ", PASSWORD),
        ("front_door' OR 1=1 --", PASSWORD),
    ],
)
def test_only_an_account_with_its_password_comes_in(house: FtpHouse, quick: None, name: str, password: str) -> None:
    assert refused(house, name, password).startswith("530")


def test_what_was_wrong_is_logged_without_the_password(
    house: FtpHouse, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    refused(house, "front_door", "hunter2-secret")
    client = house.client()
    with pytest.raises(ftplib.error_perm, match="not understood"):
        client.sendcmd("hunter3-secret")
    assert "wrong password was sent for the FTP account front_door" in caplog.text
    assert "secret" not in caplog.text
    assert PASSWORD not in caplog.text


def test_nothing_can_be_done_without_logging_in(house: FtpHouse) -> None:
    client = house.connected()
    for command in ("STOR 1.jpg", "LIST", "PWD", "MKD x", "PASV", "SIZE 1.jpg", "STAT /"):
        with pytest.raises(ftplib.error_perm, match="530"):
            client.sendcmd(command)


def test_a_connection_ends_after_three_wrong_passwords(house: FtpHouse, quick: None) -> None:
    client = house.connected()
    for _ in range(3):
        with pytest.raises(ftplib.error_perm, match="530"):
            client.login("front_door", "wrong password")
    with pytest.raises((EOFError, ConnectionError)):
        client.sendcmd("NOOP")


def test_who_guesses_is_shut_out_for_a_while(house: FtpHouse, quick: None) -> None:
    waiting = house.connected()
    for _ in range(FAILURES):
        assert refused(house, "front_door", "wrong password").startswith("530")
    with pytest.raises(ftplib.error_temp, match="421 Too many wrong passwords came from this address: wait 600 s"):
        house.client()
    with pytest.raises(ftplib.error_temp, match="421 Too many wrong passwords"):
        waiting.login("front_door", PASSWORD)
    house.clock.time += WINDOW
    house.client()


def test_slowing_one_client_slows_no_other(house: FtpHouse) -> None:
    began = time.monotonic()
    answers: list[str] = []
    guessing = threading.Thread(target=lambda: answers.append(refused(house, "front_door", "wrong password")))
    guessing.start()
    for _ in range(3):
        house.client().voidcmd("NOOP")
    assert answers == []
    guessing.join(PATIENCE_SECONDS)
    assert time.monotonic() - began >= 1
    assert answers[0].startswith("530")


def test_passwords_sent_in_one_go_are_tried_one_by_one(house: FtpHouse, raw: socket.socket) -> None:
    raw.sendall(b"USER front_door\r\n" + b"PASS wrong password\r\n" * 20 + b"LIST\r\n")
    answers = b""
    while b"530" not in answers:
        answers += raw.recv(4096)
    assert answers.count(b"530") == 1
    assert answers.count(b"503 Wait for the answer to PASS") == 20


def test_control_characters_are_refused(raw: socket.socket) -> None:
    for line in (b"USER front_door\x00", b"USER front\ndoor", b"USER \x1b[31mroot", "USER a\u0085b".encode()):
        raw.sendall(line + b"\r\n")
        assert raw.recv(200).startswith(b"501 Control characters")


def test_a_client_that_never_logs_in_is_ended(house: FtpHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LOGIN_SECONDS", 0.05)
    client = house.connected()
    with pytest.raises(ftplib.error_temp, match="421 Nobody logged in"):
        client.getresp()


def test_a_line_without_end_is_refused(raw: socket.socket) -> None:
    raw.sendall(b"USER " + b"x" * 100_000)
    assert raw.recv(200).startswith(b"500 Command too long")


def test_accounts_are_added_changed_and_removed_while_the_server_runs(quick: None, house: FtpHouse) -> None:
    house.account("garage", "another password")
    assert refused(house, "garage", PASSWORD).startswith("530")
    set_password(house, "garage", PASSWORD)
    assert refused(house, "garage", "another password").startswith("530")
    garage, door = house.client("garage"), house.client()
    remove(house, "garage")
    assert refused(house, "garage", PASSWORD).startswith("530")
    with pytest.raises(ftplib.error_temp, match="421 The account has changed"):
        garage.getresp()
    door.voidcmd("NOOP")


def test_a_session_ends_when_its_password_changes(tmp_path: Path, quick: None) -> None:
    with FtpHouse(tmp_path).running() as house:
        house.account("front_door")
        client = house.client()
        set_password(house, "front_door", "another password")
        with pytest.raises(ftplib.error_temp, match="421 The account has changed"):
            client.getresp()


def test_a_password_that_was_right_once_is_hashed_once(house: FtpHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    matches = passwords.matches

    def counted(password: str, kept: str) -> bool:
        hashed.append(password)
        return matches(password, kept)

    monkeypatch.setattr(gate, "matches", counted)
    for _ in range(3):
        house.client()
    assert hashed == [PASSWORD]
    set_password(house, "front_door", "another password")
    monkeypatch.setattr(bans, "LONGEST_DELAY_SECONDS", 0.0)
    assert refused(house, "front_door", PASSWORD).startswith("530")
    assert len(hashed) == 2


def test_a_name_that_has_no_account_takes_as_long(
    house: FtpHouse, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def counted(password: str, kept: str) -> bool:
        hashed.append(kept.split("$")[1])
        return True

    monkeypatch.setattr(gate, "matches", counted)
    assert refused(house, "nobody", PASSWORD).startswith("530")
    assert hashed == ["16384"]


def test_accounts_that_cannot_be_read_count_as_no_guess(house: FtpHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    async def locked(*_: object) -> None:
        raise OSError("database is locked")

    with monkeypatch.context() as broken:
        broken.setattr(ftp_accounts, "get", locked)
        assert refused(house, "front_door", PASSWORD).startswith("421 The accounts cannot be read now")
    house.client()


def test_too_many_connections_are_told_so(tmp_path: Path) -> None:
    limits = FtpSettings(max_connections=3, max_connections_per_address=3)
    with FtpHouse(tmp_path, settings=limits).running() as house:
        kept = [house.connected() for _ in range(3)]
        with pytest.raises(ftplib.error_temp, match="421 Too many connections"):
            house.connected()
        kept.pop().quit()
        house.connected().voidcmd("NOOP")


def test_too_many_connections_of_one_address_are_told_so(tmp_path: Path) -> None:
    limits = FtpSettings(max_connections=30, max_connections_per_address=2)
    with FtpHouse(tmp_path, settings=limits).running() as house:
        house.account("front_door")
        kept = [house.client() for _ in range(2)]
        with pytest.raises(ftplib.error_temp, match="421 Too many connections from the same IP address"):
            house.connected()
        assert [client.nlst() for client in kept] == [[], []]


def test_the_folder_is_made_at_the_login(house: FtpHouse) -> None:
    assert not house.camera().exists()
    house.client()
    assert house.camera().is_dir()


def test_a_camera_that_has_a_folder_of_another_spelling_keeps_it(house: FtpHouse) -> None:
    (house.root / "Front Door").mkdir(parents=True)
    client = house.client()
    client.mkd("2026")
    assert (house.root / "Front Door" / "2026").is_dir()
    assert not house.camera().exists()


def test_a_folder_that_is_a_link_is_not_entered(
    house: FtpHouse, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outside").mkdir()
    house.root.mkdir(parents=True)
    house.camera().symlink_to(tmp_path / "outside")
    assert refused(house, "front_door", PASSWORD).startswith("421 The camera's folder cannot be used")
    assert "is a link: mount the folder there" in caplog.text


@pytest.mark.parametrize("folder", ["..", "../outside", "/etc", ".hidden", "a/b", "", "a\x00b", "x" * 300])
def test_an_account_whose_folder_lies_elsewhere_is_not_entered(
    house: FtpHouse, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    house.account("evil", folder=folder or ".")
    assert refused(house, "evil", PASSWORD).startswith("421 The camera's folder cannot be used")
    assert "is no camera's folder" in caplog.text


def test_a_watch_root_that_cannot_be_used_is_named(house: FtpHouse, caplog: pytest.LogCaptureFixture) -> None:
    house.root.write_text("in the way")
    assert refused(house, "front_door", PASSWORD).startswith("421 The camera's folder cannot be used")
    assert f"{house.root} cannot be used (File exists): check owner and permissions" in caplog.text


def test_each_wrong_password_is_answered_later() -> None:
    counting = Bans(MovableClock())
    assert [counting.failed("192.0.2.1") for _ in range(5)] == [1, 2, 4, 8, 8]
    assert counting.failed("192.0.2.2") == 1


def test_wrong_passwords_are_forgotten_and_a_clock_that_jumps_back_shuts_nobody_out() -> None:
    clock = MovableClock()
    counting = Bans(clock)
    for _ in range(FAILURES):
        counting.failed("192.0.2.1")
    assert counting.remaining("192.0.2.1") == WINDOW.total_seconds()
    clock.move(days=-1)
    assert counting.remaining("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_one_guesser_has_one_address_or_one_network(first: str, second: str, same: bool) -> None:
    counting = Bans(MovableClock())
    for _ in range(FAILURES):
        counting.failed(first)
    assert (counting.remaining(second) > 0) is same


def test_the_memory_of_addresses_is_bounded() -> None:
    counting = Bans(MovableClock())
    for number in range(ADDRESSES + 10):
        counting.failed(f"10.0.{number // 256}.{number % 256}")
    assert len(counting._failures) == ADDRESSES
