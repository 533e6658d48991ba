# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hostile names: whatever a client says, nothing outside its camera's folder is touched or seen."""

import ftplib
import io
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_server.ingest.ftp.names import UNFINISHED
from tests.support.ftp import PASSWORD, FtpHouse
from tests.support.pictures import jpeg

PICTURE = jpeg(1)
SECRET = "outside.jpg"
HOSTILE = [
    "../outside.jpg",
    "../../etc/passwd",
    "/../../outside.jpg",
    "a/../../outside.jpg",
    "..",
    ".",
    "/",
    "//",
    "~root/.ssh/authorized_keys",
    "..\\outside.jpg",
    "a" * 256 + ".jpg",
    "a\u202egpj.exe",
    "\u200f.jpg",
    f"{UNFINISHED}/1.jpg",
    UNFINISHED,
    f"{UNFINISHED.upper()}/1.jpg",
    "./.uploading/../.uploading/x",
]


def store(client: ftplib.FTP, name: str, content: bytes = PICTURE) -> str:
    return client.storbinary(f"STOR {name}", io.BytesIO(content))


def outside(house: FtpHouse) -> dict[str, bytes]:
    """Return every file that is not the camera's."""
    found = (path for path in house.folder.rglob("*") if path.is_file() and not path.is_relative_to(house.camera()))
    return {path.name: path.read_bytes() for path in found if not path.name.startswith("hsi.db")}


@pytest.fixture
def secret(house: FtpHouse) -> Path:
    """A file of another camera and one beside all cameras."""
    house.root.mkdir(parents=True)
    (house.root / "garage").mkdir()
    (house.root / "garage" / SECRET).write_bytes(b"secret")
    file = house.root / SECRET
    file.write_bytes(b"secret")
    return file


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leads_out_of_the_folder_or_into_what_is_unfinished(house: FtpHouse, secret: Path, name: str) -> None:
    client = house.client()
    lines: list[str] = []
    before = outside(house)
    for command in ("STOR", "APPE"):
        with suppress(ftplib.Error):
            client.storbinary(f"{command} {name}", io.BytesIO(PICTURE))
    for command in ("DELE", "MKD", "CWD", "RNFR", "RNTO", "SIZE", "MFMT 20200101000000", "STAT", "MLST"):
        with suppress(ftplib.Error):
            client.voidcmd(f"{command} {name}")
    with suppress(ftplib.Error):
        client.dir(name, lines.append)
    with suppress(ftplib.Error):
        client.cwd("/")
        store(client, "1.jpg")
        client.rename("1.jpg", name)
    assert outside(house) == before
    assert "garage" not in "".join(lines)
    assert not (house.camera() / UNFINISHED / "1.jpg").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a\u202egpj.exe", "characters that cannot be seen"),
        ("a" * 256, "longer than 255 bytes"),
        ("ж" * 128, "longer than 255 bytes"),
    ],
)
def test_a_name_that_no_file_may_have_is_refused_with_the_reason(house: FtpHouse, name: str, why: str) -> None:
    client = house.client()
    with pytest.raises(ftplib.error_perm, match=f"550 .*{why}"):
        store(client, name)
    with pytest.raises(ftplib.error_perm, match=f"550 .*{why}"):
        client.mkd(name)
    store(client, "1.jpg")
    with pytest.raises(ftplib.error_perm, match=f"550 .*{why}"):
        client.rename("1.jpg", name)


@pytest.mark.parametrize(
    "name",
    [
        "a" * 251 + ".jpg",
        "Гараж.jpg",
        "玄関 2026.jpg",
        "מצלמה.jpg",
        'a"b.jpg',
        "-la.jpg",
        "a;b|c$(d).jpg",
        "é.jpg",
        ".a.jpg",
    ],
)
def test_a_name_in_any_script_is_kept(house: FtpHouse, name: str) -> None:
    client = house.client()
    store(client, name)
    assert (house.camera() / name).read_bytes() == PICTURE
    assert client.nlst() == [name]
    assert client.size(name) == len(PICTURE)


def test_a_name_in_an_old_encoding_keeps_its_bytes(house: FtpHouse) -> None:
    client = house.connected(encoding="gbk")
    client.login("front_door", PASSWORD)
    store(client, "车库.jpg")
    client.mkd("相机")
    names = {os.fsencode(path.name) for path in house.camera().iterdir()}
    assert names >= {"车库.jpg".encode("gbk"), "相机".encode("gbk")}
    client.cwd("相机")
    assert client.pwd() == "/相机"


@pytest.mark.parametrize("character", ["\x00", "\n", "\r", "\x1b", "\x7f", "\t"])
def test_control_characters_are_no_part_of_a_name(house: FtpHouse, character: str) -> None:
    client = house.client()
    assert client.sock is not None
    client.sock.sendall(f"MKD a{character}b\r\n".encode())
    with pytest.raises(ftplib.error_perm, match="501 Control characters"):
        client.getresp()
    assert list(house.camera().iterdir()) == []


def test_links_in_the_folder_lead_nowhere(house: FtpHouse, secret: Path) -> None:
    client = house.client()
    (house.camera() / "file.jpg").symlink_to(secret)
    (house.camera() / "folder").symlink_to(secret.parent)
    (house.camera() / "dangling.jpg").symlink_to(secret.parent / "new.jpg")
    before = outside(house)
    for name in ("file.jpg", "folder/new.jpg", "folder/outside.jpg", "dangling.jpg"):
        for command in ("STOR", "APPE"):
            with pytest.raises(ftplib.error_perm, match="550"):
                client.storbinary(f"{command} {name}", io.BytesIO(PICTURE))
        for command in ("SIZE", "DELE", "RNFR", "MDTM", "MFMT 20200101000000"):
            with pytest.raises(ftplib.error_perm, match="550"):
                client.voidcmd(f"{command} {name}")
    with pytest.raises(ftplib.error_perm, match="550"):
        client.cwd("folder")
    lines: list[str] = []
    client.dir(lines.append)
    assert str(secret.parent) not in "\n".join(lines)
    assert outside(house) == before


def test_two_accounts_cannot_see_each_other(house: FtpHouse) -> None:
    house.account("garage")
    door, garage = house.client("front_door"), house.client("garage")
    store(door, "1.jpg")
    store(garage, "2.jpg")
    assert (door.nlst(), garage.nlst()) == (["1.jpg"], ["2.jpg"])
    for name in ("/garage", "../garage", "/../garage"):
        with pytest.raises(ftplib.error_perm, match="550"):
            door.cwd(name)
    assert (house.root / "garage" / "2.jpg").exists()
    assert door.pwd() == "/"


def test_what_is_unfinished_is_nobodys_folder(house: FtpHouse) -> None:
    client = house.client()
    store(client, "1.jpg")
    assert (house.camera() / UNFINISHED).is_dir()
    assert client.nlst() == ["1.jpg"]
    assert [name for name, _ in client.mlsd()] == ["1.jpg"]
    with pytest.raises(ftplib.error_perm, match="550"):
        client.cwd(UNFINISHED)
    with pytest.raises(ftplib.error_perm, match="550"):
        client.rename(UNFINISHED, "shown")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(["..", ".", "a", "b", "", UNFINISHED, "x.jpg", "\u202e", "é", "link"]), min_size=1, max_size=6
    ),
    st.sampled_from(["STOR", "APPE", "MKD", "CWD", "DELE", "RNTO"]),
)
def test_no_path_of_any_steps_leads_out(house: FtpHouse, steps: list[str], command: str) -> None:
    house.root.mkdir(parents=True, exist_ok=True)
    (house.root / SECRET).write_bytes(b"secret")
    client = house.client()
    if not (house.camera() / "link").is_symlink():
        (house.camera() / "link").symlink_to(house.root)
    before = outside(house)
    name = "/".join(steps)
    with suppress(ftplib.Error):
        if command in {"STOR", "APPE"}:
            client.storbinary(f"{command} {name}", io.BytesIO(PICTURE))
        elif command == "RNTO":
            store(client, "source.jpg")
            client.rename("source.jpg", name or "/")
        else:
            client.voidcmd(f"{command} {name}")
    client.close()
    assert outside(house) == before
