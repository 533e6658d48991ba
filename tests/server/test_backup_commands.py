# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi backup` and `hsi restore`, as an operator calls them."""

import asyncio
import getpass
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inference_server.cli import main
from inference_server.storage.backup import encryption
from inference_server.storage.backup.manifest import LEFT_OUT
from inference_server.storage.data_folder import DataFolder
from tests.support.backups import PASSPHRASE, content_of, filled

type Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a filled data folder to copy."""
    return asyncio.run(filled(tmp_path_factory.mktemp("made_once") / "data")).root


@pytest.fixture
def data(made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a filled data folder that the commands use, and keep the settings of the machine out."""
    monkeypatch.setattr(encryption, "_COST", 1 << 4)
    for name in [name for name in os.environ if name.startswith("HSI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HSI_DATA_DIR", str(tmp_path / "data"))
    shutil.copytree(made_once, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs a command and returns its status, output and errors."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def _typed(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """Let somebody sit at a terminal and type."""
    waiting = list(answers)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda *_, **__: waiting.pop(0))


def test_a_backup_is_made_verified_and_restored_elsewhere(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = run("backup")
    assert status == 0, err
    file, *told = out.splitlines()
    assert Path(file).parent == data / "backups"
    assert "Media: 3 files" in "\n".join(told)
    assert f"Not in it: {', '.join(LEFT_OUT)}" in told
    assert "saved" in err
    assert "checked" in err

    status, out, _ = run("backup", "verify", file)
    assert status == 0
    assert "whole" in out
    assert "not encrypted" in out
    assert "3 frames" in out

    monkeypatch.setenv("HSI_DATA_DIR", str(tmp_path / "new"))
    status, out, _ = run("restore", file, "--dry-run")
    assert status == 0
    assert "can be restored" in out
    assert not (tmp_path / "new").exists()
    status, out, _ = run("restore", file)
    assert status == 0
    assert "Restored 3 pictures and clips." in out
    assert "Not restored: the settings" in out
    assert content_of(tmp_path / "new" / "media") == content_of(data / "media")
    assert run("tokens", "list")[1].split()[1] == "integration"


def test_a_database_is_replaced_only_when_told_so(run: Run, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    assert run("backup", "--output", file, "--no-media")[0] == 0
    status, _, err = run("restore", file)
    assert status == 1
    assert "With --replace the backup takes its place" in err
    status, out, _ = run("restore", file, "--replace")
    assert status == 0
    assert f"The database that was there is {data}/hsi.db.before-restore-" in out


def test_a_running_server_keeps_a_restore_out(run: Run, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    run("backup", "--output", file)
    with DataFolder(data).lock():
        assert run("backup", "--output", tmp_path / "another.tar")[0] == 0  # but no backup
        status, _, err = run("restore", file, "--replace")
    assert status == 1
    assert "Another server is using the data folder" in err


def test_missing_pictures_are_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Media: left out" in run("backup", "--output", tmp_path / "backup.tar", "--no-media")[1]
    monkeypatch.setenv("HSI_DATA_DIR", str(tmp_path / "new"))
    out = run("restore", tmp_path / "backup.tar")[1]
    assert "3 pictures and clips have no file: they are marked as pruned." in out


def test_a_file_is_overwritten_only_when_told_so(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    file.write_text("mine")
    status, _, err = run("backup", "--output", file)
    assert status == 1
    assert "overwrite it with --force" in err
    assert file.read_text() == "mine"
    assert run("backup", "--output", file, "--force")[0] == 0
    assert run("backup", "verify", file)[0] == 0


def test_a_damaged_backup_is_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    run("backup", "--output", file)
    file.write_bytes(file.read_bytes()[:-1])
    for command in (("backup", "verify", file), ("restore", file, "--replace")):
        status, _, err = run(*command)
        assert status == 1
        assert "damaged, incomplete or no backup" in err


def test_an_empty_data_folder_has_nothing_to_save(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSI_DATA_DIR", str(tmp_path / "new"))
    status, _, err = run("backup")
    assert status == 1
    assert "nothing to save. Check HSI_DATA_DIR" in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("source", ["file", "environment", "terminal"])
def test_the_passphrase_comes_from_a_file_the_environment_or_a_terminal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    file, secret = tmp_path / "backup.tar", tmp_path / "passphrase"
    secret.write_text(f"{PASSPHRASE}\n")
    options: tuple[str | Path, ...] = ()
    if source == "file":
        options = ("--passphrase-file", secret)
    elif source == "environment":
        monkeypatch.setenv("HSI_BACKUP_PASSPHRASE", PASSPHRASE)
    else:
        _typed(monkeypatch, PASSPHRASE, PASSPHRASE, PASSPHRASE)
    status, out, err = run("backup", "--output", file, *options, *(["--encrypt"] if source == "terminal" else []))
    assert (status, PASSPHRASE in out + err) == (0, False)
    status, out, err = run("backup", "verify", *options, file)
    assert status == 0, err
    assert "not encrypted" not in out


def test_an_encrypted_backup_without_a_passphrase_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backup.tar"
    monkeypatch.setenv("HSI_BACKUP_PASSPHRASE", PASSPHRASE)
    run("backup", "--output", file)
    monkeypatch.delenv("HSI_BACKUP_PASSPHRASE")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    status, _, err = run("restore", file, "--replace")
    assert status == 1
    assert "--passphrase-file or HSI_BACKUP_PASSPHRASE" in err
    monkeypatch.setenv("HSI_BACKUP_PASSPHRASE", "incorrect")
    status, _, err = run("restore", file, "--replace")
    assert status == 1
    assert "The passphrase is wrong" in err


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_file_without_a_passphrase_is_told(run: Run, tmp_path: Path, content: bytes) -> None:
    secret = tmp_path / "passphrase"
    secret.write_bytes(content)
    status, _, err = run("backup", "--output", tmp_path / "backup.tar", "--passphrase-file", secret)
    assert status == 1
    assert "Write the passphrase into it" in err
    assert not (tmp_path / "backup.tar").exists()


@pytest.mark.parametrize("typed", [("one", "two"), ("", "")])
def test_a_mistyped_passphrase_saves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: tuple[str, str]
) -> None:
    _typed(monkeypatch, *typed)
    status, _, err = run("backup", "--output", tmp_path / "backup.tar", "--encrypt")
    assert status == 1
    assert "Nothing was saved" in err
    assert not (tmp_path / "backup.tar").exists()
