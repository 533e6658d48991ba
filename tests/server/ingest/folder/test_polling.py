# SPDX-License-Identifier: AGPL-3.0-or-later
"""Polling finds what is new and looks at little: on real files, at times of the test's own."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from inference_server.ingest.folder.ignoring import IgnoreRules
from inference_server.ingest.folder.polling import FEW, LIVELY_SECONDS, ROUND_SECONDS, UNSETTLED_SECONDS, Poller
from inference_server.ingest.folder.tree import Tree
from tests.support.privileges import public_folder, unprivileged

DATES = [f"2026-{month:02}-{day:02}" for month in (9, 10, 11) for day in range(1, 21)]


@dataclass
class Polled:
    """A root that is polled once a second."""

    root: Path
    now: float = 1000.0
    ignore: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Look at everything once."""
        rules = IgnoreRules(self.ignore)
        self.tree = Tree(str(self.root), root=str(self.root), prefix="", rules=rules)
        self.poller = Poller(self.tree, str(self.root))
        for _ in self.tree.explore(self.tree.top):
            pass

    def poll(self, seconds: float = 1.0) -> list[str]:
        """Poll once after so many seconds and return what was found."""
        self.now += seconds
        return sorted(seen.file.path for look in self.poller.poll(self.now) for seen in look)

    def quiet(self) -> None:
        """Poll until what was found at the start is known."""
        for _ in range(int(ROUND_SECONDS) + 2):
            self.poll()

    def poll_until(self, *names: str) -> float:
        """Poll until these were found, and return how many seconds it took."""
        started, left = self.now, set(names)
        while left:
            left -= set(self.poll())
            assert self.now - started < 3 * ROUND_SECONDS
        return self.now - started


def _write(path: Path, text: str = "picture", age: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if age:
        seconds = path.stat().st_mtime - age
        os.utime(path, (seconds, seconds))
    return path


def _age(folder: Path, seconds: float) -> None:
    at = folder.stat().st_mtime - seconds
    os.utime(folder, (at, at))


def _noted(monkeypatch: pytest.MonkeyPatch, function: str) -> list[str]:
    """Return the paths with which a function of `os` is called from now on."""
    paths: list[str] = []
    original = getattr(os, function)

    def noted(path: str) -> object:
        paths.append(path)
        return original(path)

    monkeypatch.setattr(os, function, noted)
    return paths


@pytest.fixture
def dated(tmp_path: Path) -> Polled:
    """Give two cameras with sixty folders by date each, of which nothing is new."""
    for camera in ("front", "back"):
        for number, date in enumerate(DATES):
            _write(tmp_path / camera / date / "1.jpg")
            _age(tmp_path / camera / date, (len(DATES) - number) * 86400)
    polled = Polled(tmp_path)
    polled.quiet()
    return polled


def test_a_new_file_in_a_recent_folder_is_found_at_once(dated: Polled) -> None:
    for number in range(2, 8):
        _write(dated.root / "front" / DATES[-1] / f"{number}.jpg")
        assert dated.poll() == [f"front/{DATES[-1]}/{number}.jpg"]
    assert dated.poll() == []


def test_a_new_file_in_an_old_folder_is_found_within_a_round(dated: Polled) -> None:
    _write(dated.root / "back" / DATES[3] / "2.jpg")
    assert dated.poll_until(f"back/{DATES[3]}/2.jpg") <= ROUND_SECONDS + 1
    _write(dated.root / "back" / DATES[3] / "3.jpg")
    assert f"back/{DATES[3]}/3.jpg" in dated.poll()


def test_at_midnight_the_new_folder_is_found_with_its_first_file(dated: Polled) -> None:
    _write(dated.root / "front" / "2026-11-21" / "00" / "1.jpg")
    assert "front/2026-11-21/00/1.jpg" in dated.poll()
    _write(dated.root / "front" / "2026-11-21" / "00" / "2.jpg")
    assert "front/2026-11-21/00/2.jpg" in dated.poll()


def test_after_a_quiet_year_the_first_file_is_found_at_once(dated: Polled) -> None:
    dated.now += 365 * 86400
    dated.quiet()
    _write(dated.root / "front" / "2027-11-23" / "1.jpg")
    assert "front/2027-11-23/1.jpg" in dated.poll()


def test_a_new_camera_is_found_at_once(dated: Polled) -> None:
    _write(dated.root / "garage" / "2026" / "11" / "1.jpg")
    assert "garage/2026/11/1.jpg" in dated.poll()


def test_a_rewritten_file_is_found_in_a_small_folder_at_once_and_in_a_full_one_within_a_round(tmp_path: Path) -> None:
    _write(tmp_path / "small" / "latest.jpg", age=900)
    for number in range(2 * FEW):
        _write(tmp_path / "full" / f"{number}.jpg", age=900)
    polled = Polled(tmp_path)
    polled.quiet()
    _write(tmp_path / "small" / "latest.jpg", "another")
    assert polled.poll() == ["small/latest.jpg"]
    _write(tmp_path / "full" / "7.jpg", "another")
    assert polled.poll_until("full/7.jpg") <= ROUND_SECONDS + 1


def test_a_file_replaced_under_its_name_is_found(tmp_path: Path) -> None:
    _write(tmp_path / "front" / "latest.jpg")
    polled = Polled(tmp_path)
    polled.quiet()
    _write(tmp_path / "front" / "upload", "another").rename(tmp_path / "front" / "latest.jpg")
    assert polled.poll() == ["front/latest.jpg"]


def test_a_second_file_within_the_same_tick_of_the_folder_s_clock_is_found(tmp_path: Path) -> None:
    _write(tmp_path / "front" / "1.jpg")
    polled = Polled(tmp_path)
    polled.quiet()
    _write(tmp_path / "front" / "2.jpg")
    coarse = (tmp_path / "front").stat().st_mtime // 2 * 2
    os.utime(tmp_path / "front", (coarse, coarse))
    assert polled.poll() == ["front/2.jpg"]
    _write(tmp_path / "front" / "3.jpg")
    os.utime(tmp_path / "front", (coarse, coarse))
    assert polled.poll(UNSETTLED_SECONDS - 1) == ["front/3.jpg"]


def test_a_file_system_without_times_of_folders_is_searched_within_a_round(tmp_path: Path) -> None:
    _write(tmp_path / "front" / "1.jpg")
    os.utime(tmp_path / "front", (0, 0))
    polled = Polled(tmp_path)
    polled.quiet()
    _write(tmp_path / "front" / "2.jpg")
    os.utime(tmp_path / "front", (0, 0))
    assert polled.poll_until("front/2.jpg") <= ROUND_SECONDS + 1


def test_old_folders_are_neither_listed_nor_remembered(dated: Polled, monkeypatch: pytest.MonkeyPatch) -> None:
    dated.now += LIVELY_SECONDS
    dated.quiet()
    listed, looked_at = _noted(monkeypatch, "scandir"), _noted(monkeypatch, "stat")
    polls = 3 * int(ROUND_SECONDS)
    for _ in range(polls):
        assert dated.poll() == []
    recent = {str(dated.root / camera / date) for camera in ("front", "back") for date in DATES[-2:]}
    assert set(listed) <= recent | {str(dated.root), str(dated.root / "front"), str(dated.root / "back")}
    folders = 2 * len(DATES) + 3
    assert len(looked_at) / polls < folders / 4
    for camera in dated.tree.top.folders.values():
        assert {name for name, folder in camera.folders.items() if folder.names is not None} == set(DATES[-2:])


def test_deleted_folders_and_files_are_forgotten(dated: Polled) -> None:
    gone = dated.root / "front" / DATES[-1]
    (gone / "1.jpg").unlink()
    gone.rmdir()
    dated.quiet()
    assert DATES[-1] not in dated.tree.top.folders["front"].folders
    _write(gone / "1.jpg")
    assert f"front/{DATES[-1]}/1.jpg" in dated.poll()


def test_a_folder_that_may_not_be_read_is_named_until_it_may() -> None:
    with public_folder() as root:
        _write(root / "front" / "1.jpg")
        (root / "front").chmod(0)
        with unprivileged():
            polled = Polled(root)
            polled.quiet()
            assert [str(root / "front") in problem for problem in polled.tree.problems] == [True]
        (root / "front").chmod(0o755)
        assert "front/1.jpg" in polled.poll()
        assert polled.tree.problems == ()


@pytest.mark.parametrize("rules", [["*thumb*"], ["/thumbs"]])
def test_an_ignored_folder_is_not_even_listed(
    tmp_path: Path, rules: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "front" / "thumbs" / "1.jpg")
    _write(tmp_path / "front" / "2.jpg")
    polled = Polled(tmp_path, ignore=rules)
    listed = _noted(monkeypatch, "scandir")
    found = [seen.file.path for look in polled.tree.explore(polled.tree.top) for seen in look]
    assert found == ["front/2.jpg"]
    assert str(tmp_path / "front" / "thumbs") not in listed
