# SPDX-License-Identifier: AGPL-3.0-or-later
"""Installing models of several files, with and without published digests, against servers and disks that fail."""

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inference_server.core.model import ModelProblem, PullState, PullStep
from inference_server.models.catalogue import HttpsSource, ModelEntry
from inference_server.models.errors import ModelUnavailable
from inference_server.models.fetching import MOST_BREAKS, Fetcher
from inference_server.models.room import SPARE_BYTES
from inference_server.models.store import ModelStore
from tests.server.models.conftest import model, weights
from tests.server.models.file_server import FileServer

CONTENT = bytes(range(256)) * 2000
OTHER = CONTENT[::-1]


async def at_once(_seconds: float) -> None:
    """Wait for nothing."""


def store(folder: Path, *entries: ModelEntry) -> ModelStore:
    return ModelStore(folder, catalogue=entries, fetcher=Fetcher(sleep=at_once))


async def test_a_model_of_several_files_is_a_folder(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    steps: list[PullStep] = []
    async with FileServer(CONTENT) as one, FileServer(OTHER) as two:
        entry = model(
            weights("sample/a.bin", CONTENT, HttpsSource(one.url())),
            weights("sample/b.bin", OTHER, HttpsSource(two.url())),
        )
        models = store(tmp_path, entry)
        path = await models.pull("sample", lambda done, total: told.append((done, total)), steps=steps.append)
    assert path == models.installed("sample") == tmp_path / "downloads" / "sample"
    assert (path / "a.bin").read_bytes() == CONTENT
    assert (path / "b.bin").read_bytes() == OTHER
    assert told == sorted(told)
    assert told[-1] == (2 * len(CONTENT), 2 * len(CONTENT))
    assert {PullStep.DOWNLOADING, PullStep.CHECKING} == set(steps)
    (path / "b.bin").write_bytes(b"damaged")
    assert models.installed("sample") is None
    assert [check.ok for check in models.verify("sample")] == [True, False]


async def test_a_source_that_breaks_off_again_and_again_is_taken_to_its_end(tmp_path: Path) -> None:
    async with FileServer(CONTENT) as server:
        server.cuts_each = 100_000
        models = store(tmp_path, model(weights("a.bin", CONTENT, HttpsSource(server.url()))))
        path = await models.pull("sample")
        assert len(server.ranges) > 3
    assert path.read_bytes() == CONTENT


async def test_a_source_that_breaks_off_without_giving_anything_is_left(tmp_path: Path) -> None:
    async with FileServer(CONTENT) as server:
        server.cuts_each = 0
        models = store(tmp_path, model(weights("a.bin", CONTENT, HttpsSource(server.url()))))
        with pytest.raises(ModelUnavailable, match="broke off"):
            await models.pull("sample")
        assert len(server.ranges) < MOST_BREAKS


async def test_a_wrong_file_is_not_kept_and_the_next_source_asked(tmp_path: Path) -> None:
    async with FileServer(OTHER) as wrong, FileServer(CONTENT) as right:
        sources = (HttpsSource(wrong.url()), HttpsSource(right.url()))
        models = store(tmp_path, model(weights("a.bin", CONTENT, *sources)))
        assert (await models.pull("sample")).read_bytes() == CONTENT


async def test_without_a_published_digest_somebody_has_to_say_so(tmp_path: Path) -> None:
    async with FileServer(CONTENT) as server:
        entry = model(weights("a.bin", CONTENT, HttpsSource(server.url()), pinned=False))
        models = store(tmp_path, entry)
        with pytest.raises(ModelUnavailable, match="Nobody has published a digest of Sample") as caught:
            await models.pull("sample")
        assert caught.value.problem is ModelProblem.UNPINNED
        assert "--accept-unpinned" in caught.value.remedy
        assert server.ranges == []
        await models.pull("sample", accept_unpinned=True)
        noted = models.summary(entry, in_use=False, pull=None).files[0]
        assert (noted.sha256, noted.pinned) == (hashlib.sha256(CONTENT).hexdigest(), False)
        assert await models.pull("sample") == models.installed("sample"), "what is there is held to its note"


async def test_an_unpinned_file_is_held_to_what_it_was(tmp_path: Path) -> None:
    async with FileServer(CONTENT) as server:
        models = store(tmp_path, model(weights("a.bin", CONTENT, HttpsSource(server.url()), pinned=False)))
        path = await models.pull("sample", accept_unpinned=True)
        path.write_bytes(b"damaged")
        assert models.installed("sample") is None
        assert [check.ok for check in models.verify("sample")] == [False]
        server.content = OTHER
        with pytest.raises(ModelUnavailable, match=r"had [0-9a-f]{64} when .*remove the model first"):
            await models.pull("sample", accept_unpinned=True)
        assert await models.remove("sample") > 0
        assert (await models.pull("sample", accept_unpinned=True)).read_bytes() == OTHER


async def test_a_file_that_not_every_revision_has_may_be_missing(tmp_path: Path) -> None:
    async with FileServer(CONTENT) as server:
        optional = replace(weights("sample/b.bin", OTHER, HttpsSource(server.url("/nothing"))), optional=True)
        entry = model(weights("sample/a.bin", CONTENT, HttpsSource(server.url())), optional)
        models = store(tmp_path, entry)
        assert models.installed("sample") is None
        path = await models.pull("sample")
        assert models.installed("sample") == path
        assert [file.name for file in path.iterdir() if file.suffix == ".bin"] == ["a.bin"]
        needed = store(tmp_path, replace(entry, files=(entry.files[0], replace(optional, optional=False))))
        with pytest.raises(ModelUnavailable, match="answers 404"):
            await needed.pull("sample")
        busy = replace(optional, sources=(HttpsSource(server.url("/busy")),))
        with pytest.raises(ModelUnavailable, match="answers 529"):
            await store(tmp_path, replace(entry, files=(entry.files[0], busy))).pull("sample")


async def test_room_is_looked_for_before_anything_is_asked_for(tmp_path: Path) -> None:
    async with FileServer(CONTENT) as server:
        entry = model(weights("a.bin", CONTENT, HttpsSource(server.url())))
        needed = len(CONTENT) + SPARE_BYTES
        models = ModelStore(tmp_path, catalogue=[entry], free=lambda _folder: needed - 1)
        with pytest.raises(ModelUnavailable, match=r"Sample needs 105 MB in .*, where 105 MB are free") as caught:
            await models.pull("sample")
        assert caught.value.problem is ModelProblem.NO_SPACE
        assert server.ranges == []
        await ModelStore(tmp_path, catalogue=[entry], free=lambda _folder: needed).pull("sample")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that takes 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("a disk can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_disk_that_fills_up_keeps_what_it_took(small_disk: Path) -> None:
    async with FileServer(CONTENT) as server:
        entry = model(weights("a.bin", CONTENT, HttpsSource(server.url())))
        models = ModelStore(small_disk, catalogue=[entry], free=lambda _folder: 1 << 40)
        with pytest.raises(ModelUnavailable, match=r"could not be stored in .*No space left on device") as caught:
            await models.pull("sample")
        assert "free space" in caught.value.remedy
    assert models.installed("sample") is None
    part = small_disk / "downloads" / "a.bin.part"
    assert 0 < part.stat().st_size <= 256 << 10
    assert part.read_bytes() == CONTENT[: part.stat().st_size]


async def test_a_cancelled_pull_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    async with FileServer(CONTENT) as server:
        entry = model(weights("a.bin", CONTENT, HttpsSource(server.url())))
        models = store(tmp_path, entry)
        server.gate = asyncio.Event()
        begun = asyncio.Event()
        task = asyncio.create_task(models.pull("sample", lambda _done, _total: begun.set()))
        await server.reached.wait()
        elsewhere = store(tmp_path, entry).summary(entry, in_use=False, pull=None).pull
        assert elsewhere is not None
        assert elsewhere.state is PullState.ELSEWHERE
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left = models.summary(entry, in_use=False, pull=None)
        assert not left.installed
        assert left.pull is not None
        assert left.pull.state is PullState.INTERRUPTED
        server.gate.set()
        await models.pull("sample")
    assert models.summary(entry, in_use=False, pull=None).pull is None


async def test_what_was_carried_here_is_taken_by_its_digest(tmp_path: Path, nowhere: HttpsSource) -> None:
    carried = tmp_path / "usb" / "some" / "folder"
    carried.mkdir(parents=True)
    (carried / "renamed").write_bytes(CONTENT)
    (carried / "a.bin").write_bytes(OTHER)
    entry = model(weights("a.bin", CONTENT, nowhere))
    models = ModelStore(tmp_path / "models", catalogue=[entry], offline=tmp_path / "usb")
    assert (await models.pull("sample")).read_bytes() == CONTENT
    assert (carried / "renamed").exists()


async def test_an_unpinned_file_is_carried_under_its_own_name(tmp_path: Path, nowhere: HttpsSource) -> None:
    entry = model(weights("sample/a.bin", CONTENT, nowhere, pinned=False))
    models = ModelStore(tmp_path / "models", catalogue=[entry], offline=tmp_path / "usb")
    with pytest.raises(ModelUnavailable, match=r"there is no folder .*usb \(models\.offline_folder\); no route to"):
        await models.pull("sample", accept_unpinned=True)
    (tmp_path / "usb").mkdir()
    with pytest.raises(ModelUnavailable, match=r"usb holds no sample/a\.bin; no route to"):
        await models.pull("sample", accept_unpinned=True)
    (tmp_path / "usb" / "sample").mkdir()
    (tmp_path / "usb" / "sample" / "a.bin").write_bytes(OTHER)
    path = await models.pull("sample", accept_unpinned=True)
    assert (path if path.is_file() else path / "a.bin").read_bytes() == OTHER


async def test_removing_leaves_nothing_and_touches_nothing_else(tmp_path: Path) -> None:
    async with FileServer(CONTENT) as server:
        entry = model(weights("sample/a.bin", CONTENT, HttpsSource(server.url())))
        models = store(tmp_path, entry)
        await models.pull("sample")
        (tmp_path / "downloads" / "mine.txt").write_text("mine")
        assert await models.remove("sample") >= len(CONTENT)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"downloads/mine.txt", ".sample.lock"}
    for model_id, problem in (("sample", ModelProblem.NOT_INSTALLED), ("../sample", ModelProblem.UNKNOWN)):
        with pytest.raises(ModelUnavailable) as caught:
            await models.remove(model_id)
        assert caught.value.problem is problem


async def test_a_file_of_the_owners_own_is_not_removed_by_accident(tmp_path: Path) -> None:
    own = tmp_path / "sample.onnx"
    own.write_bytes(b"mine")
    models = store(tmp_path, model(weights("a.bin", CONTENT)))
    with pytest.raises(ModelUnavailable, match="was not put there by the server"):
        await models.remove("sample")
    assert own.exists()
    await models.remove("sample", own=True)
    assert not own.exists()


async def test_a_copied_folder_is_read_once_and_believed(tmp_path: Path) -> None:
    """A copy has other times than its notes say: it is checked, and noted again."""
    async with FileServer(CONTENT) as server:
        entry = model(weights("a.bin", CONTENT, HttpsSource(server.url()), pinned=False))
        await store(tmp_path / "one", entry).pull("sample", accept_unpinned=True)
    for file in (tmp_path / "one").rglob("a.bin*"):
        target = tmp_path / "two" / file.relative_to(tmp_path / "one")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        os.utime(target, (1, 1 if file.suffix == ".bin" else 2))
    copied = store(tmp_path / "two", entry)
    assert copied.installed("sample") is not None
    note = tmp_path / "two" / "downloads" / "a.bin.sha256"
    assert note.stat().st_mtime == 1
    (tmp_path / "two" / "downloads" / "a.bin").write_bytes(OTHER)
    assert copied.installed("sample") is None
