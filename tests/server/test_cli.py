# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands, as an operator calls them."""

import asyncio
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL

from inference_server import __version__
from inference_server.cli import main
from inference_server.models.catalogue import CATALOGUE
from inference_server.storage import chores
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from tests.support.home import home

pytestmark = pytest.mark.usefixtures("data")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_token_is_made_listed_and_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    status, secret, _ = _run(capsys, "tokens", "create", "Garage", "--scope", "upload")
    assert status == 0
    assert len(secret.strip()) == 43
    _, listed, _ = _run(capsys, "tokens", "list")
    assert listed.split()[:2] == ["1", "upload"]
    assert "valid" in listed
    assert "Garage" in listed
    assert secret.strip() not in listed
    assert _run(capsys, "tokens", "revoke", "1")[:2] == (0, "Token 1 is revoked.\n")
    assert "revoked 2" in _run(capsys, "tokens", "list")[1]


def test_a_token_that_is_not_there_cannot_be_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, "tokens", "revoke", "7")
    assert status == 1
    assert "hsi tokens list" in out


def test_a_token_is_for_reading_unless_said_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    _run(capsys, "tokens", "create", "Dashboard")
    assert _run(capsys, "tokens", "list")[1].split()[1] == "read"


def test_a_camera_gets_an_account_that_is_listed_changed_and_removed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = _run(capsys, "ftp", "add", "Front Door")
    assert status == 0
    assert out.split()[:3] == ["user", "front_door", "password"]
    assert re.fullmatch(r"[A-Za-z2-9]{16}", first := out.split()[3])
    assert "HSI_FTP__ENABLED" in err
    monkeypatch.setenv("HSI_FTP__ENABLED", "true")
    listed = _run(capsys, "ftp", "list")[1]
    assert (listed.split()[0], listed.rstrip().endswith("Front Door")) == ("front_door", True)
    assert first not in listed
    status, out, err = _run(capsys, "ftp", "password", "front_door")
    assert (status, err) == (0, "")
    assert out.split()[3] != first
    assert _run(capsys, "ftp", "remove", "front_door") == (0, "The account front_door is removed.\n", "")
    assert _run(capsys, "ftp", "list")[1] == ""


def test_a_camera_has_one_account(capsys: pytest.CaptureFixture[str]) -> None:
    _run(capsys, "ftp", "add", "front_door")
    status, out, err = _run(capsys, "ftp", "add", "Front Door")
    assert (status, out) == (1, "")
    assert "hsi ftp password front_door" in err


@pytest.mark.parametrize("command", ["password", "remove"])
def test_an_account_that_is_not_there_is_explained(capsys: pytest.CaptureFixture[str], command: str) -> None:
    status, _, err = _run(capsys, "ftp", command, "shed")
    assert status == 1
    assert "shed has no account: see hsi ftp list" in err


def test_a_password_can_be_chosen_and_is_not_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    status, out, _ = _run(capsys, "ftp", "add", "garage", "--password-stdin")
    assert status == 0
    assert out == "user      garage\n"


@pytest.mark.parametrize("password", ["", "short", "x" * 65, "pässwörter", " leading space", "tab\tinside"])
def test_a_password_that_no_camera_can_send_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    status, _, err = _run(capsys, "ftp", "add", "garage", "--password-stdin")
    assert status == 1
    assert "8 to 64 letters" in err
    assert _run(capsys, "ftp", "list")[1] == ""


@pytest.mark.parametrize("camera", ["", ".", "..", "a/b", "../a", ".hidden", "a\nb", "\udcff", "x" * 256, " a"])
def test_a_name_that_no_camera_folder_can_have_is_explained(capsys: pytest.CaptureFixture[str], camera: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(("ftp", "add", camera))
    assert stopped.value.code == 2
    assert "folder" in capsys.readouterr().err


def test_every_model_is_listed_with_where_it_is(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    supplied = data / "models" / "yolo26n.onnx"
    supplied.parent.mkdir(parents=True)
    supplied.write_bytes(b"a model")
    status, out, _ = _run(capsys, "models", "list")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert set(lines) == {"MODEL"} | {entry.id for entry in CATALOGUE}
    assert lines["yolo26n"].endswith(str(supplied))
    assert lines["yolov3-tiny"].endswith("not installed")


def test_an_unknown_model_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = _run(capsys, "models", "verify", "yolo99")
    assert status == 1
    assert 'There is no model "yolo99"' in err
    assert "Choose one of" in err


def test_a_model_that_is_not_there_cannot_be_verified(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = _run(capsys, "models", "verify", "yolo26n")
    assert status == 1
    assert "yolo26n is not installed: run hsi models pull yolo26n" in err


def _fill(data: Path) -> list[Path]:
    """Store an event and a frame of 40 days ago, a newer picture, and a file that nothing refers to."""

    async def fill() -> list[Path]:
        async with home(data, where=URL.create("sqlite+aiosqlite", database=str(data / "hsi.db"))) as made:
            made.clock.time = datetime.now(UTC) - timedelta(days=40)
            await made.camera()
            await made.ended_event()
            await made.frame()
            made.media.write("front_door", "abc", "jpg", b"orphan")
            made.later(days=39)
            await made.frame()
        return sorted(made.media.root.rglob("*.jpg"))

    data.mkdir()
    return asyncio.run(fill())


def test_a_cleanup_says_what_would_go_and_deletes_it(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    files = _fill(data)
    status, planned, _ = _run(capsys, "cleanup", "--dry-run")
    assert status == 0
    lines = {line.rpartition(" bytes")[0].split()[0]: line.split() for line in planned.splitlines()}
    assert lines["events,"][1] == "critical"
    assert lines["frames"][1] == lines["orphans"][1] == "1"
    assert planned.endswith("bytes would go\n")
    assert [file for file in files if file.exists()] == files

    status, done, _ = _run(capsys, "cleanup")
    assert (status, done) == (0, planned.replace("would go", "deleted"))
    assert len([file for file in files if file.exists()]) == 1
    assert _run(capsys, "cleanup")[1].endswith("0 bytes deleted\n")


def test_a_cleanup_beside_another_one_is_explained(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    _fill(data)

    async def take() -> None:
        database = Database(data / "hsi.db")
        async with database.writing() as connection:
            await chores.take(connection, "cleanup", "the server", datetime.now(UTC))
        await database.close()

    asyncio.run(take())
    for command in (("cleanup",), ("orphans", "--delete")):
        status, _, err = _run(capsys, *command)
        assert status == 1
        assert "A cleanup is under way already. Try again" in err
    assert _run(capsys, "cleanup", "--dry-run")[0] == 0


def test_orphans_are_listed_and_deleted(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    files = _fill(data)
    (orphan,) = (file for file in files if file.name == "abc.jpg")
    status, listed, _ = _run(capsys, "orphans")
    assert status == 0
    assert listed.splitlines()[0].split() == ["6", "'front_door/ab/abc.jpg'"]
    assert orphan.exists()
    next(file for file in files if file != orphan).unlink()
    status, listed, _ = _run(capsys, "orphans", "--delete")
    assert (status, orphan.exists()) == (0, False)
    lines = {line.split()[0]: line.split()[1] for line in listed.splitlines()[1:]}
    assert lines == {"orphans": "1", "missing": "1", "deleted": "1"}
    assert "orphans                 0" in _run(capsys, "orphans")[1]


def test_an_unknown_variable_is_explained(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSI_API_PORT", "8001")
    status, _, err = _run(capsys, "tokens", "list")
    assert status == 2
    assert "HSI_API_PORT" in err
    assert "HSI_API__PORT" in err


def test_wrong_settings_are_named_with_their_variables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSI_API__PORT", "99999")
    monkeypatch.setenv("HSI_RISK__MEDIUM", "70")
    status, _, err = _run(capsys, "tokens", "list")
    assert status == 2
    assert "api.port" in err
    assert "HSI_API__PORT" in err
    assert "risk thresholds must rise" in err


@pytest.mark.parametrize(
    ("variable", "content"),
    [
        ("HSI_APP_OPTIONS_FILE", b"{not json"),
        ("HSI_APP_OPTIONS_FILE", b"[1, 2]"),
        ("HSI_APP_OPTIONS_FILE", b"\xff\xfe"),
        ("HSI_SETTINGS_FILE", b"not = = toml"),
        ("HSI_SETTINGS_FILE", b"\xff\xfe"),
    ],
)
def test_a_settings_file_that_cannot_be_read_is_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: bytes
) -> None:
    file = tmp_path / "settings"
    file.write_bytes(content)
    monkeypatch.setenv(variable, str(file))
    status, _, err = _run(capsys, "tokens", "list")
    assert status == 2
    assert str(file) in err


def test_a_variable_that_is_no_json_is_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSI_DETECTOR__CLASS_CONFIDENCE", "person=0.5")
    status, _, err = _run(capsys, "tokens", "list")
    assert status == 2
    assert "detector" in err


def test_a_second_server_on_a_data_folder_is_refused_with_a_remedy(
    capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    folder = DataFolder(data)
    folder.prepare()
    with folder.lock():
        status, _, err = _run(capsys, "serve")
    assert status == 1
    assert "Another server is using the data folder" in err
    assert "HSI_DATA_DIR" in err


def test_a_data_folder_that_cannot_be_made_is_refused_with_a_remedy(
    capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    data.write_text("in the way")
    for command in (("serve",), ("tokens", "list")):
        status, _, err = _run(capsys, *command)
        assert status == 1
        assert "Choose another one with HSI_DATA_DIR" in err


def test_a_damaged_database_is_explained(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    data.mkdir()
    (data / "hsi.db").write_bytes(b"no database" * 500)
    status, _, err = _run(capsys, "tokens", "list")
    assert status == 1
    assert "restore a backup" in err


@pytest.mark.parametrize(
    ("arguments", "explained"),
    [
        (("tokens", "create", "\udcff"), "name"),
        (("tokens", "create", "a\nb"), "name"),
        (("tokens", "create", " "), "name"),
        (("tokens", "revoke", "99999999999999999999"), "hsi tokens list"),
        (("tokens", "revoke", "0"), "hsi tokens list"),
        (("tokens", "revoke", "9" * 5000), "hsi tokens list"),
    ],
)
def test_a_name_or_id_that_no_token_can_have_is_explained(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], explained: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert explained in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("fly",), ("tokens",), ("tokens", "create"), ("tokens", "revoke", "x")])
def test_a_wrong_call_shows_the_usage(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: hsi" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"hsi {__version__}\n"
