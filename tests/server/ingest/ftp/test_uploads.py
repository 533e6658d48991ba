# SPDX-License-Identifier: AGPL-3.0-or-later
"""Uploads: in their place when they are complete, out of sight before, resumable after they broke off."""

import ftplib
import io
import os
import socket
import struct
import time
from pathlib import Path

import pytest

from inference_server.ingest.ftp import filesystem
from inference_server.ingest.ftp import house as house_module
from inference_server.ingest.ftp.names import UNFINISHED
from inference_server.ingest.ftp.upload import Upload
from inference_server.settings import FtpSettings
from tests.support.ftp import FtpHouse
from tests.support.pictures import jpeg

PICTURE = jpeg(1, (640, 480))


def store(client: ftplib.FTP, name: str, content: bytes = PICTURE, rest: int | None = None) -> str:
    return client.storbinary(f"STOR {name}", io.BytesIO(content), rest=rest)


def begin(client: ftplib.FTP, name: str, content: bytes) -> socket.socket:
    """Begin an upload, send this much of it, and return its data connection."""
    client.voidcmd("TYPE I")
    data = client.transfercmd(f"STOR {name}")
    data.sendall(content)
    return data


def files(house: FtpHouse) -> set[str]:
    """Return the files of the camera that the folder watch can see."""
    root = house.camera()
    found = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
    return {path.as_posix() for path in found if path.parts[0] != UNFINISHED}


def part_size(house: FtpHouse, name: str) -> int:
    part = house.part(name)
    return part.stat().st_size if part.exists() else -1


def reset(connection: socket.socket) -> None:
    """End a connection as a machine does that lost it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_picture_comes_into_its_place_as_it_was_sent(house: FtpHouse) -> None:
    client = house.client()
    assert store(client, "1.jpg").startswith("226")
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE
    assert files(house) == {"1.jpg"}
    assert not house.part("1.jpg").exists()


def test_nothing_is_in_its_place_before_it_is_complete(house: FtpHouse) -> None:
    client = house.client()
    data = begin(client, "1.jpg", PICTURE[:2000])
    house.until(lambda: house.part("1.jpg").exists())
    assert files(house) == set()
    data.sendall(PICTURE[2000:])
    data.close()
    assert client.voidresp().startswith("226")
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def test_a_file_of_the_same_name_is_replaced_at_once(house: FtpHouse) -> None:
    client = house.client()
    store(client, "latest.jpg", b"old")
    with (house.camera() / "latest.jpg").open("rb") as reading:
        store(client, "latest.jpg")
        assert reading.read() == b"old"
    assert (house.camera() / "latest.jpg").read_bytes() == PICTURE


def test_text_mode_destroys_no_picture(house: FtpHouse) -> None:
    client = house.client()
    content = b"\r\nend\r" * 1000
    client.voidcmd("TYPE A")
    data = client.transfercmd("STOR 1.jpg")
    data.sendall(content)
    data.close()
    client.voidresp()
    assert (house.camera() / "1.jpg").read_bytes() == content


def test_folders_by_date(house: FtpHouse) -> None:
    client = house.client()
    for folder in ("2026", "11", "23"):
        client.mkd(folder)
        client.cwd(folder)
    store(client, "183005.jpg")
    store(client, "/2026/11/183006.jpg")
    assert client.pwd() == "/2026/11/23"
    client.sendcmd("CDUP")
    assert set(client.nlst()) == {"23", "183006.jpg"}
    assert files(house) == {"2026/11/23/183005.jpg", "2026/11/183006.jpg"}


def test_the_clients_own_temporary_names_work(house: FtpHouse) -> None:
    client = house.client()
    store(client, ".1.jpg.tmp")
    client.rename(".1.jpg.tmp", "1.jpg")
    assert files(house) == {"1.jpg"}


def test_a_modification_time_is_kept(house: FtpHouse) -> None:
    client = house.client()
    store(client, "1.jpg")
    assert client.sendcmd("MFMT 20200102030405 1.jpg").startswith("213")
    assert (house.camera() / "1.jpg").stat().st_mtime == 1577934245
    assert client.sendcmd("MDTM 1.jpg") == "213 20200102030405"


def test_an_upload_that_broke_off_is_shown_under_its_name_and_resumed(house: FtpHouse) -> None:
    client = house.client()
    data = begin(client, "1.jpg", PICTURE[:5000])
    house.until(lambda: part_size(house, "1.jpg") == 5000)
    client.close()
    reset(data)
    resuming = house.client()
    house.until(lambda: resuming.size("1.jpg") == 5000)
    assert files(house) == set()
    assert resuming.nlst() == ["1.jpg"]
    assert [(name, facts["size"]) for name, facts in resuming.mlsd() if name == "1.jpg"] == [("1.jpg", "5000")]
    lines: list[str] = []
    resuming.dir(lines.append)
    assert [line.split()[4] for line in lines] == ["5000"]
    store(resuming, "1.jpg", PICTURE[5000:], rest=5000)
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def test_an_upload_can_be_resumed_by_appending(house: FtpHouse) -> None:
    client = house.client()
    data = begin(client, "1.jpg", PICTURE[:5000])
    house.until(lambda: part_size(house, "1.jpg") == 5000)
    reset(data)
    with pytest.raises(ftplib.error_temp, match="426 The connection broke"):
        client.voidresp()
    client.storbinary("APPE 1.jpg", io.BytesIO(PICTURE[5000:]))
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def test_appending_to_a_finished_file_shows_no_half(house: FtpHouse) -> None:
    client = house.client()
    store(client, "1.jpg", PICTURE[:5000])
    client.voidcmd("TYPE I")
    data = client.transfercmd("APPE 1.jpg")
    data.sendall(PICTURE[5000:6000])
    house.until(lambda: part_size(house, "1.jpg") >= 5000)
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE[:5000]
    data.sendall(PICTURE[6000:])
    data.close()
    client.voidresp()
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def test_a_camera_that_always_appends_can_begin_a_file(house: FtpHouse) -> None:
    house.client().storbinary("APPE 1.jpg", io.BytesIO(PICTURE))
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def test_a_new_upload_begins_anew_whatever_broke_off_before(house: FtpHouse) -> None:
    client = house.client()
    reset(begin(client, "1.jpg", b"x" * 900_000))
    with pytest.raises(ftplib.error_temp):
        client.voidresp()
    store(client, "1.jpg")
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def test_what_is_not_there_cannot_be_resumed(house: FtpHouse) -> None:
    with pytest.raises(ftplib.error_perm, match="550 There are 0 bytes"):
        store(house.client(), "1.jpg", rest=10)


def test_an_aborted_upload_is_kept_for_resuming(house: FtpHouse) -> None:
    client = house.client()
    begin(client, "1.jpg", PICTURE[:5000])
    house.until(lambda: client.size("1.jpg") is not None)
    assert client.abort().startswith("426")
    assert client.getresp().startswith("226")
    assert files(house) == set()
    assert house.part("1.jpg").exists()


def test_a_client_that_dies_leaves_no_half_picture_in_its_place(house: FtpHouse) -> None:
    client = house.client()
    data = begin(client, "1.jpg", PICTURE[:5000])
    data.close()
    client.close()
    other = house.client()
    house.until(lambda: other.size("1.jpg") == 5000)
    time.sleep(0.1)  # nothing comes of it: there is nothing to wait for
    assert files(house) == set()
    assert other.size("1.jpg") == 5000


def test_a_whole_picture_counts_though_its_camera_does_not_wait_for_the_answer(house: FtpHouse) -> None:
    client = house.client()
    begin(client, "1.jpg", PICTURE).close()
    client.close()
    house.until(lambda: files(house) == {"1.jpg"})
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def test_a_camera_that_comes_again_takes_over_its_own_upload(house: FtpHouse) -> None:
    old, new = house.client(), house.client()
    data = begin(old, "1.jpg", PICTURE[:5000])
    house.until(lambda: house.part("1.jpg").exists())
    store(new, "1.jpg")
    data.sendall(b"late" * 100)
    with pytest.raises(ftplib.error_temp, match="426 A newer upload"):
        old.voidresp()
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def test_a_file_on_its_way_into_its_place_is_not_written_over(house: FtpHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = house.client(), house.client()
    refused: list[str] = []
    place = Upload.place

    def placing(upload: Upload) -> None:
        try:
            store(second, "1.jpg", b"late")
        except ftplib.error_perm as error:
            refused.append(str(error))
        place(upload)

    monkeypatch.setattr(Upload, "place", placing)
    store(first, "1.jpg")
    assert "send it again" in refused[0]
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def test_a_file_that_cannot_be_put_into_its_place_is_not_said_to_be_complete(
    house: FtpHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ftplib.error_temp, match=r"451 .*Input/output error"):
        store(house.client(), "1.jpg")
    assert files(house) == set()


def test_a_file_that_is_too_large_is_refused_while_it_comes(tmp_path: Path) -> None:
    with FtpHouse(tmp_path, settings=FtpSettings(max_file_bytes=100_000)).running() as house:
        house.account("front_door")
        client = house.client()
        store(client, "fits.jpg", b"x" * 100_000)
        with pytest.raises((ftplib.error_perm, ConnectionError)):
            store(client, "large.jpg", b"x" * 10_000_000)
        assert "large.jpg" not in house.client().nlst()
        other = house.client()
        other.voidcmd("TYPE I")
        data = other.transfercmd("STOR 1.jpg", rest=None)
        data.sendall(b"x" * 100_001)
        with pytest.raises(ftplib.error_perm, match="552 The file is larger than 100000 bytes"):
            other.voidresp()
        with pytest.raises((ftplib.error_perm, ConnectionError)):
            other.storbinary("APPE fits.jpg", io.BytesIO(b"x"))
        assert files(house) == {"fits.jpg"}


def test_while_nothing_is_let_in_uploads_are_told_to_come_later(house: FtpHouse) -> None:
    client = house.client()
    house.backpressure.close("disk", "The disk is 95 % full: free some space.")
    with pytest.raises(ftplib.error_temp, match="452 The disk is 95 % full: free some space"):
        store(client, "1.jpg")
    assert files(house) == set()
    house.backpressure.open("disk")
    store(client, "1.jpg")


def test_a_full_disk_is_told_before_anything_is_sent(house: FtpHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house_module, "LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(ftplib.error_temp, match="452 The disk of the camera folders is full"):
        store(house.client(), "1.jpg")


def test_a_disk_that_fills_during_an_upload_ends_it_and_keeps_nothing_of_it(
    house: FtpHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_upload: Upload, _chunk: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Upload, "write", full)
    client = house.client()
    with pytest.raises(ftplib.error_temp, match="452 The file cannot be stored: No space left on device"):
        store(client, "1.jpg")
    assert not house.part("1.jpg").exists()
    monkeypatch.undo()
    store(client, "1.jpg")


def test_pictures_can_be_neither_read_back_nor_deleted(house: FtpHouse) -> None:
    client = house.client()
    for name in ("1.jpg", "test.txt"):
        store(client, name)
    for command in ("RETR 1.jpg", "DELE 1.jpg", "RMD 2026", "SITE CHMOD 777 1.jpg", "STOU", "SITE HELP"):
        with pytest.raises(ftplib.error_perm, match=r"^5"):
            client.sendcmd(command)
    client.delete("test.txt")
    assert files(house) == {"1.jpg"}


def test_an_unfinished_upload_can_be_deleted(house: FtpHouse) -> None:
    client = house.client()
    reset(begin(client, "1.jpg", PICTURE[:5000]))
    with pytest.raises(ftplib.error_temp):
        client.voidresp()
    client.delete("1.jpg")
    assert client.nlst() == []


def test_what_nobody_resumes_is_deleted_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = FtpHouse(tmp_path)
    with place.running() as house:
        house.account("front_door")
        client = house.client()
        client.mkd("2026")
        reset(begin(client, "2026/1.jpg", PICTURE[:5000]))
        with pytest.raises(ftplib.error_temp):
            client.voidresp()
    with place.running() as house:
        assert house.client().nlst("2026") == ["1.jpg"]
    monkeypatch.setattr(filesystem, "PART_SECONDS", 0.0)
    with place.running() as house:
        house.until(lambda: not house.part("").exists())
        assert house.client().nlst("2026") == []
    assert (house.camera() / "2026").is_dir()
