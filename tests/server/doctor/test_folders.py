# SPDX-License-Identifier: AGPL-3.0-or-later
"""Folders, disks, permissions and watch roots: real ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_server.core.diagnosis import Finding, FindingState
from inference_server.doctor import folders, watch_roots
from inference_server.ingest.folder.mounts import Mount
from inference_server.settings import DiskSettings, Settings
from tests.support.privileges import public_folder, unprivileged

OK, WARNING, PROBLEM = FindingState
LOW = DiskSettings(
    warn_percent=1, prune_to_percent=1, prune_percent=99, resume_percent=99, refuse_percent=99.9, min_age_hours=1
)
NOTHING_LET_IN = DiskSettings(
    warn_percent=1, prune_to_percent=1, prune_percent=1.1, resume_percent=1.1, refuse_percent=1.2
)


@pytest.fixture
def public() -> Iterator[Path]:
    """Give a folder that every user can reach."""
    with public_folder() as folder:
        yield folder


def _settings(folder: Path, **more: object) -> Settings:
    return Settings.model_validate({"data_dir": folder / "data", **more})


def _one(findings: Iterator[Finding], subject: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.subject == subject]
    return finding


def test_a_disk_is_measured(tmp_path: Path) -> None:
    finding = _one(folders.disks(_settings(tmp_path, disk=DiskSettings(warn_percent=85))), "disk")
    assert f"{tmp_path} (data, " in finding.found
    assert "GiB free" in finding.found


@pytest.mark.parametrize(("limits", "state"), [(LOW, WARNING), (NOTHING_LET_IN, PROBLEM)])
def test_a_disk_that_fills_up_is_told(tmp_path: Path, limits: DiskSettings, state: FindingState) -> None:
    finding = _one(folders.disks(_settings(tmp_path, disk=limits)), "disk")
    assert finding.state is state
    assert "HSI_RETENTION__" in (finding.remedy or "")


def test_sqlite_on_a_network_file_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "read_mounts", lambda: (Mount("/", "nfs4"),))
    findings = list(folders.disks(_settings(tmp_path)))
    assert findings[-1].state is WARNING
    assert "lies on nfs4, where SQLite's locks may not hold" in findings[-1].found
    elsewhere = _settings(tmp_path, database_url="postgresql://db/hsi")
    assert len(list(folders.disks(elsewhere))) == len(findings) - 1


def test_a_data_folder_that_is_not_there_yet_is_well(tmp_path: Path) -> None:
    finding = _one(folders.permissions(_settings(tmp_path)), "permissions")
    assert (finding.state, finding.found.endswith("is made at the first start")) == (OK, True)
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_of_somebody_else_is_told(public: Path) -> None:
    public.chmod(0o755)
    with unprivileged():
        finding = _one(folders.permissions(_settings(public)), "permissions")
    assert finding.state is PROBLEM
    assert "HSI_DATA_DIR" in (finding.remedy or "")
    data = public / "data"
    data.mkdir(mode=0o700)
    with unprivileged():
        finding = _one(folders.permissions(_settings(public)), "permissions")
    assert finding.state is PROBLEM
    assert f"(user {data.stat().st_uid})" in (finding.remedy or "")


def test_what_others_may_read_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    settings = _settings(tmp_path)
    assert _one(folders.permissions(settings), "permissions").state is OK
    (data / "token").write_text("secret")
    (data / "token").chmod(0o600)
    assert _one(folders.permissions(settings), "permissions").found.endswith("its token is private")
    data.chmod(0o755)
    (data / "token").chmod(0o644)
    open_folder, open_token = folders.permissions(settings)
    assert (open_folder.state, open_token.state) == (WARNING, PROBLEM)
    assert open_token.remedy
    assert open_token.remedy.startswith("chmod 600")
    assert "secret" not in open_token.found


def test_a_watch_folder_that_works(tmp_path: Path) -> None:
    (tmp_path / "cameras" / "front_door").mkdir(parents=True)
    (tmp_path / "cameras" / ".hidden").mkdir()
    finding = _one(watch_roots.look(_settings(tmp_path, watch_root=tmp_path / "cameras")), "watch folder")
    assert finding.state is OK
    assert "1 camera, " in finding.found


def test_how_new_files_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "cameras"
    root.mkdir()

    def told(**ingest: object) -> str:
        settings = _settings(tmp_path, watch_root=root, ingest=ingest)
        return _one(watch_roots.look(settings), "watch folder").found

    assert told(watch_mode="polling").endswith("polled, as the settings say")
    assert watch_roots.inotify_error(root) is None
    assert told(watch_mode="inotify").endswith("told about by inotify")
    monkeypatch.setattr(watch_roots, "read_mounts", lambda: (Mount("/", "cifs"),))
    assert "polled: it is on cifs" in told()
    monkeypatch.setattr(watch_roots, "inotify_error", lambda _path: "No space left on device")
    assert told(watch_mode="inotify").endswith("inotify does not work there (No space left on device)")


def test_inotify_says_what_is_wrong(tmp_path: Path) -> None:
    assert watch_roots.inotify_error(tmp_path / "none") == "No such file or directory"


def test_watch_folders_that_do_not_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "cameras").mkdir()
    more = [{"path": tmp_path / "gone"}, {"path": tmp_path / "file"}]
    settings = _settings(tmp_path, watch_root=tmp_path / "cameras", ingest={"more_roots": more})
    states = {finding.found: finding.state for finding in watch_roots.look(settings) if finding.subject != "inotify"}
    assert states[f"{tmp_path / 'gone'} does not exist"] is PROBLEM
    assert states[f"{tmp_path / 'file'} is no folder"] is PROBLEM
    assert list(states.values()).count(OK) == 1
    main = _one(watch_roots.look(_settings(tmp_path)), "watch folder")
    assert (main.state, main.found) == (OK, f"{tmp_path / 'data' / 'cameras'} is made at the first start")


def test_folders_that_may_not_be_read(public: Path) -> None:
    root = public / "cameras"
    (root / "front_door").mkdir(parents=True)
    (root / "front_door").chmod(0o700)
    settings = _settings(public, watch_root=root)
    with unprivileged():
        finding = _one(watch_roots.look(settings), "watch folder")
        assert (finding.state, "these cannot be read: front_door" in finding.found) == (WARNING, True)
    root.chmod(0o700)
    with unprivileged():
        finding = _one(watch_roots.look(settings), "watch folder")
        assert (finding.state, "cannot be read by user" in finding.found) == (PROBLEM, True)


def test_watches_that_run_out_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "limits").mkdir()
    (tmp_path / "limits" / "max_user_watches").write_text("100\n")
    monkeypatch.setattr(watch_roots, "LIMITS", tmp_path / "limits")
    finding = _one(watch_roots.look(_settings(tmp_path)), "inotify")
    assert finding.state is WARNING
    assert "max_user_watches=524288" in (finding.remedy or "")
    monkeypatch.setattr(watch_roots, "LIMITS", tmp_path / "none")
    assert all(finding.subject != "inotify" for finding in watch_roots.look(_settings(tmp_path)))


def test_a_file_in_place_of_the_data_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    (finding,) = folders.permissions(Settings(data_dir=tmp_path / "data"))
    assert (finding.state, "is a file" in finding.found) == (FindingState.PROBLEM, True)
    assert "HSI_DATA_DIR" in (finding.remedy or "")
