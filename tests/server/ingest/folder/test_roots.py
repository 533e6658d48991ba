# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several roots, places on other file systems, ignore patterns and waiting: what health says of each."""

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inference_server.core.camera import CameraSettings
from inference_server.core.frame import FrameSource
from inference_server.ingest.admission import Admission, AdmittedFile, Outcome
from inference_server.ingest.folder import names
from inference_server.ingest.folder.tree import Tree
from inference_server.observability.health import HealthState
from inference_server.settings import WatchMode
from inference_server.storage import arrivals
from tests.support.pictures import jpeg
from tests.support.recording_intake import RecordingIntake
from tests.support.watched import MARKER, Watched, until_healthy


def _another(watched: Watched) -> Watched:
    """Return a further root beside this one."""
    return replace(watched, root=watched.outside / "nas", main=False, intake=RecordingIntake())


async def test_a_further_root_s_files_go_by_their_whole_path(watched: Watched, settle: Callable[[float], None]) -> None:
    settle(0.05)
    nas = _another(watched)
    async with watched.running(), nas.running():
        nas.write("front/1.jpg", jpeg(1))
        watched.write("front/1.jpg", jpeg(2))
        await nas.intake.until_content(f"{nas.root}/front/1.jpg", jpeg(1))
        await watched.intake.until_content("front/1.jpg", jpeg(2))
    assert {watched.ingest().name, nas.ingest().name} == {"ingest", f"ingest:{nas.root}"}
    admitted = [item for item in nas.intake.taken if isinstance(item, AdmittedFile)]
    assert {item.camera_id for item in admitted} == {"front", "marker"}


async def test_a_root_that_is_missing_stops_no_other_and_is_watched_when_it_is_there(watched: Watched) -> None:
    nas = _another(watched)
    async with nas.started(), watched.running():
        await until_healthy(nas, "down")
        assert "HSI_INGEST__MORE_ROOTS" in (nas.ingest().remedy or "")
        assert not nas.root.exists()
        nas.root.write_text("in the way")
        await until_healthy(nas, "Not a directory")
        nas.root.unlink()
        watched.write("front/1.jpg", jpeg(1))
        await watched.intake.until_content("front/1.jpg", jpeg(1))
        assert watched.ingest().state is HealthState.OK
        nas.write("front/1.jpg", jpeg(1), old=True)
        await nas.intake.until_content(f"{nas.root}/front/1.jpg", jpeg(1))
        await until_healthy(nas, "ok")


async def test_a_root_that_is_empty_now_is_named(watched: Watched) -> None:
    """A share that is not mounted leaves an empty folder."""
    watched.rescan_seconds = 0.05
    for camera in ("front", "back"):
        (watched.root / camera).rmdir()
    async with watched.started():
        ingest = await until_healthy(watched, "is empty")
        assert ingest.state is HealthState.DEGRADED
        watched.write("front/1.jpg", jpeg(1), old=True)
        await watched.intake.until_content("front/1.jpg", jpeg(1))
        await until_healthy(watched, "ok")


async def test_a_place_that_others_write_to_is_polled_and_the_root_is_not(
    watched: Watched, tmp_path: Path, settle: Callable[[float], None]
) -> None:
    settle(0.05)
    watched.mount_table = tmp_path / "mountinfo"
    table = f"27 1 254:0 / / rw - ext4 /dev/vda rw\n90 27 0:50 / {watched.root}/garage rw - nfs4 nas:/garage rw\n"
    watched.mount_table.write_text(table)
    async with watched.running():
        watched.write("garage/2026/1.jpg", jpeg(1))
        watched.write("front/2.jpg", jpeg(2))
        await watched.intake.until_taken("garage/2026/1.jpg", "front/2.jpg")
        details = watched.ingest().details
    assert details["watched_by"] == "inotify"
    assert f"{watched.root}/garage: polling every 0.1 s, because it is on nfs4" in str(details["mounted_below"])


async def test_a_root_that_others_write_to_is_polled_and_a_mount_while_it_runs_is_noticed(
    watched: Watched, tmp_path: Path, settle: Callable[[float], None]
) -> None:
    settle(0.05)
    watched.mount_table = tmp_path / "mountinfo"
    local = "27 1 254:0 / / rw - ext4 /dev/vda rw\n"
    watched.mount_table.write_text(local)
    async with watched.running():
        assert watched.ingest().details["watched_by"] == "inotify"
        watched.mount_table.write_text(f"{local}90 27 0:50 / {watched.root} rw - cifs //nas/cams rw\n")
        details = (await until_healthy(watched, "polling")).details
        assert "cifs" in str(details["because"])
        watched.write("front/1.jpg", jpeg(1))
        await watched.intake.until_content("front/1.jpg", jpeg(1))


async def test_a_place_that_does_not_answer_holds_no_other_up(
    watched: Watched, tmp_path: Path, settle: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(0.05)
    answers = threading.Event()
    names_in = Tree.names_in

    def hanging(self: Tree, folder: object) -> list[str]:
        if self.top.path.endswith("garage"):
            answers.wait(20)
        return names_in(self, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(Tree, "names_in", hanging)
    watched.mount_table = tmp_path / "mountinfo"
    table = f"27 1 254:0 / / rw - ext4 /dev/vda rw\n90 27 0:50 / {watched.root}/garage rw - nfs4 nas:/garage rw\n"
    watched.mount_table.write_text(table)
    watched.write("garage/1.jpg", jpeg(1), old=True)
    async with watched.running():
        watched.write("front/2.jpg", jpeg(2))
        await watched.intake.until_content("front/2.jpg", jpeg(2))
        assert "garage/1.jpg" not in watched.intake.paths
        answers.set()
        await watched.intake.until_content("garage/1.jpg", jpeg(1))


async def test_pictures_do_not_wait_for_a_video(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = threading.Event()
    admit = Admission.admit

    def slow(self: Admission, path: Path, source: FrameSource = FrameSource.FOLDER) -> Outcome | None:
        if path.suffix == ".mp4":
            sampled.wait(20)
        return admit(self, path, source)

    monkeypatch.setattr(Admission, "admit", slow)
    monkeypatch.setattr(names, "EXTENSIONS", names.EXTENSIONS | {".mp4"})
    async with watched.running():
        watched.write("front/0.mp4", jpeg(0))
        watched.write("front/1.jpg", jpeg(1))
        await watched.intake.until_taken("front/1.jpg")
        assert "front/0.mp4" not in watched.intake.paths
        sampled.set()
        await watched.intake.until_taken("front/0.mp4")


async def test_ignored_files_are_left_alone_and_a_change_counts_from_the_next_scan_on(either: Watched) -> None:
    either.ignore = ("*.png",)
    either.rescan_seconds = 0.2
    either.cameras.update({"front": CameraSettings(ignore_patterns=("*thumb*",))}, {})
    async with either.running():
        for name in ("front/1.png", "front/Thumbs/1.jpg", "back/1.png", "back/Thumbs/1.jpg", "front/1.jpg"):
            either.write(name, jpeg(1))
        await either.intake.until_taken("back/Thumbs/1.jpg", "front/1.jpg")
        either.cameras.update({}, {})
        await either.intake.until_taken("front/Thumbs/1.jpg")
        either.write("front/2.jpg", jpeg(2))
        await either.intake.until_taken("front/2.jpg")
    expected = {MARKER, "front/1.jpg", "front/2.jpg", "front/Thumbs/1.jpg", "back/Thumbs/1.jpg"}
    assert set(either.intake.paths) == expected


async def test_while_nothing_is_let_in_files_wait_on_disk_and_health_says_why(either: Watched) -> None:
    async with either.running():
        either.backpressure.close("disk", "The disk is full: free 5 GB.")
        names = [f"front/{number}.jpg" for number in range(40)]
        for number, name in enumerate(names):
            either.write(name, jpeg(number))
        ingest = await until_healthy(either, "The disk is full")
        assert ingest.state is HealthState.DEGRADED
        assert either.intake.paths == [MARKER]
        either.backpressure.open("disk")
        await either.intake.until_taken(*names)
        await until_healthy(either, "ok")
    assert sorted(either.intake.paths) == sorted([MARKER, *names])


async def test_the_database_may_fail_while_files_are_found(either: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, failures = arrivals.unseen, [OSError(28, "No space left on device")] * 3

    async def failing(*arguments: object) -> object:
        if failures:
            raise failures.pop()
        return await ask(*arguments)  # type: ignore[arg-type]

    async with either.running():
        monkeypatch.setattr(arrivals, "unseen", failing)
        either.write("front/deep/er/1.jpg", jpeg(1))
        await either.intake.until_content("front/deep/er/1.jpg", jpeg(1))
        assert failures == []
        await until_healthy(either, "ok")


@pytest.mark.parametrize("mode", [WatchMode.INOTIFY, WatchMode.POLLING])
async def test_health_says_how_a_root_is_watched_and_why(watched: Watched, mode: WatchMode) -> None:
    watched.mode = mode
    async with watched.running():
        details = watched.ingest().details
    how = {WatchMode.INOTIFY: "inotify", WatchMode.POLLING: "polling every 0.1 s"}[mode]
    assert details == {"watching": str(watched.root), "watched_by": how, "because": "so it is set"}


async def test_names_of_any_bytes_are_told(watched: Watched) -> None:
    watched.root = watched.outside / os.fsdecode(b"cams\xff")
    link = watched.root / "front" / os.fsdecode(b"link\xfe")
    link.parent.mkdir(parents=True)
    link.symlink_to(watched.outside)
    async with watched.running():
        ingest = watched.ingest()
    told = f"{ingest.last_error} {ingest.details}".encode()
    assert b"cams\\xff" in told
    assert b"link\\xfe is a link" in told


async def test_cancelling_ends_what_runs(either: Watched) -> None:
    before = asyncio.all_tasks()
    async with either.running():
        either.write("front/1.jpg", jpeg(1))
    assert asyncio.all_tasks() == before
