# SPDX-License-Identifier: AGPL-3.0-or-later
"""The models folder: real weights, a real web server, real processes."""

import asyncio
import hashlib
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from inference_server.models.catalogue import HttpsSource, ModelEntry
from inference_server.models.errors import ModelUnavailable
from inference_server.models.locking import exclusive
from inference_server.models.store import ModelStore
from inference_server.settings import DetectorSettings
from tests.server.models.file_server import FileServer
from tests.support.weights import models_folder


def served(entry: ModelEntry, *urls: str, content: bytes | None = None) -> ModelEntry:
    """Return an entry whose weights come from these addresses, and are this content where that is given."""
    weights = replace(entry.weights, sources=tuple(HttpsSource(url) for url in urls))
    if content is not None:
        weights = replace(weights, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    return replace(entry, files=(weights,))


def store(folder: Path, *entries: ModelEntry) -> ModelStore:
    return ModelStore(folder, catalogue=entries)


async def test_pull_downloads_converts_and_keeps(tmp_path: Path, tiny: ModelEntry, real_weights: Path) -> None:
    async with FileServer(real_weights.read_bytes()) as server:
        models = store(tmp_path / "models", served(tiny, server.url()))
        assert models.installed(tiny.id) is None
        path = await models.pull(tiny.id)
        assert path == models.installed(tiny.id) == await models.pull(tiny.id)
        assert len(server.ranges) == 1
    assert [check.ok for check in models.verify(tiny.id)] == [True, True]
    (state,) = models.states()
    assert (state.entry.id, state.path, state.supplied) == (tiny.id, path, False)
    assert not list(path.parents[1].rglob("*.part"))
    assert not list(path.parents[1].rglob("*.tmp"))


def test_the_catalogues_own_sources_give_the_model() -> None:
    """The weights came from the package index, through the real catalogue, into the folder that the tests share."""
    assert all(check.ok for check in ModelStore(models_folder()).verify("yolov3-tiny"))


async def test_two_at_once_download_once(tmp_path: Path, tiny: ModelEntry, real_weights: Path) -> None:
    async with FileServer(real_weights.read_bytes()) as server:
        entry = served(tiny, server.url())
        paths = await asyncio.gather(*(store(tmp_path, entry).pull(tiny.id) for _ in range(3)))
        assert len(server.ranges) == 1
    assert len(set(paths)) == 1


PULL = """
import asyncio, dataclasses, pathlib, sys
from inference_server.models.catalogue import CATALOGUE, HttpsSource
from inference_server.models.store import ModelStore
entry = next(entry for entry in CATALOGUE if entry.id == "yolov3-tiny")
entry = dataclasses.replace(entry, files=(dataclasses.replace(entry.weights, sources=(HttpsSource(sys.argv[2]),)),))
store = ModelStore(pathlib.Path(sys.argv[1]), catalogue=[entry])
asyncio.run(store.pull(entry.id, lambda done, total: print(done, flush=True)))
"""


async def test_a_killed_download_goes_on_in_the_next_process(
    tmp_path: Path, tiny: ModelEntry, real_weights: Path
) -> None:
    async with FileServer(real_weights.read_bytes()) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PULL, str(tmp_path), server.url("/hangs"), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        with pytest.raises(ModelUnavailable, match="YOLOv3-tiny is being installed by another process"):
            await store(tmp_path, served(tiny, server.url())).pull(tiny.id, lock_seconds=0.2)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        models = store(tmp_path, served(tiny, server.url()))
        assert models.installed(tiny.id) is None
        await models.pull(tiny.id)
        assert server.ranges == ["bytes=10-"]
    assert all(check.ok for check in models.verify(tiny.id))


async def test_a_part_of_another_file_is_thrown_away(tmp_path: Path, tiny: ModelEntry, real_weights: Path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "yolov3-tiny.weights.part").write_bytes(b"x" * 1000)
    async with FileServer(real_weights.read_bytes()) as server:
        await store(tmp_path, served(tiny, server.url())).pull(tiny.id)
        assert server.ranges == ["bytes=1000-", None]


async def test_the_hash_decides(tmp_path: Path, tiny: ModelEntry) -> None:
    async with FileServer(b"something else") as server:
        entry = served(tiny, server.url())
        models = store(tmp_path, replace(entry, files=(replace(entry.weights, size=14),)))
        with pytest.raises(ModelUnavailable, match=r"has the SHA-256 [0-9a-f]{64}, expected was dccea06f") as caught:
            await models.pull(tiny.id)
    assert "run `hsi models pull yolov3-tiny` with internet access" in caught.value.remedy
    assert models.installed(tiny.id) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / ".yolov3-tiny.lock"]


async def test_the_next_source_is_tried(
    tmp_path: Path, tiny: ModelEntry, real_weights: Path, nowhere: HttpsSource
) -> None:
    async with FileServer(real_weights.read_bytes()) as server:
        models = store(tmp_path, served(tiny, nowhere.url, server.url("/nothing"), server.url()))
        assert await models.pull(tiny.id) == models.installed(tiny.id)


async def test_damage_is_found_and_repaired(tmp_path: Path, tiny: ModelEntry, real_weights: Path) -> None:
    async with FileServer(real_weights.read_bytes()) as server:
        models = store(tmp_path, served(tiny, server.url()))
        path = await models.pull(tiny.id)
        path.write_bytes(path.read_bytes()[:1000])
        assert models.installed(tiny.id) is None
        assert [(check.ok, check.detail) for check in models.verify(tiny.id)] == [
            (True, "as published"),
            (False, "changed since it was converted"),
        ]
        await models.pull(tiny.id)
        assert len(server.ranges) == 1, "the weights were still there"
    assert all(check.ok for check in models.verify(tiny.id))


async def test_a_full_disk_is_told(tmp_path: Path, tiny: ModelEntry) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(ModelUnavailable, match=r"could not be stored in .*models") as caught:
        await store(tmp_path / "models", tiny).pull(tiny.id)
    assert caught.value.remedy == "Check the free space and the folder's owner."


async def test_own_file_wins(tmp_path: Path, yolo26n: ModelEntry) -> None:
    own = tmp_path / "yolo26n.onnx"
    own.write_bytes(b"whatever")
    models = store(tmp_path, yolo26n)
    assert await models.pull("yolo26n") == own
    assert models.states()[0].supplied
    assert models.verify("yolo26n")[0].detail.startswith("your own file, SHA-256 ")
    resolved = await models.resolve(DetectorSettings())
    assert (resolved.path, resolved.name, resolved.fallback, resolved.message) == (own, "YOLO26n", False, None)


@pytest.mark.parametrize("model_id", ["yolo99", "../escaped", "/etc/passwd", ""])
async def test_unknown_models_are_refused(tmp_path: Path, tiny: ModelEntry, model_id: str) -> None:
    (tmp_path / "escaped.onnx").write_bytes(b"outside the folder")
    models = store(tmp_path / "models", tiny)
    with pytest.raises(ModelUnavailable, match=f'no model "{model_id}" in the catalogue') as caught:
        await models.pull(model_id)
    assert caught.value.remedy.startswith("Choose one of yolov3-tiny, or put")
    with pytest.raises(ModelUnavailable):
        models.verify(model_id)


async def test_fallback_with_reason_and_remedy(
    tmp_path: Path, tiny: ModelEntry, yolo26n: ModelEntry, real_weights: Path, nowhere: HttpsSource
) -> None:
    async with FileServer(real_weights.read_bytes()) as server:
        models = store(tmp_path, served(yolo26n, nowhere.url), served(tiny, server.url()))
        resolved = await models.resolve(DetectorSettings())
    assert (resolved.path, resolved.model_id) == (models.installed("yolov3-tiny"), "yolov3-tiny")
    assert resolved.fallback
    assert resolved.message == (
        "YOLO26n could not be downloaded (no route to 127.0.0.1); YOLOv3-tiny is used instead. "
        f"To use YOLO26n put yolo26n.onnx into {tmp_path} or run `hsi models pull yolo26n` with internet access."
    )


async def test_nothing_to_be_had(tmp_path: Path, tiny: ModelEntry, yolo26n: ModelEntry, nowhere: HttpsSource) -> None:
    models = store(tmp_path, served(yolo26n, nowhere.url), served(tiny, nowhere.url))
    with pytest.raises(ModelUnavailable, match=r"YOLO26n could not .*The fallback: YOLOv3-tiny could not") as caught:
        await models.resolve(DetectorSettings())
    assert "yolo26n.onnx" in caught.value.remedy
    assert "yolov3-tiny.onnx" in caught.value.remedy
    with pytest.raises(ModelUnavailable, match=r"^YOLO26n could not be downloaded"):
        await models.resolve(DetectorSettings(fallback_model=None))


async def test_model_file_of_the_settings_wins(tmp_path: Path, tiny: ModelEntry) -> None:
    mine = tmp_path / "mine.onnx"
    models = store(tmp_path / "models", tiny)
    with pytest.raises(ModelUnavailable, match=r"mine\.onnx does not exist") as caught:
        await models.resolve(DetectorSettings(model_file=mine))
    assert "detector.model_file" in caught.value.remedy
    mine.write_bytes(b"whatever")
    resolved = await models.resolve(DetectorSettings(model_file=mine))
    assert (resolved.path, resolved.model_id, resolved.fallback) == (mine, "mine", False)


async def test_weights_without_exporter_say_what_to_run(
    tmp_path: Path, tiny: ModelEntry, yolo26n: ModelEntry, real_weights: Path
) -> None:
    """The interpreter of these tests has no Ultralytics: it cannot live beside Home Assistant."""
    async with FileServer(b"a checkpoint") as pt, FileServer(real_weights.read_bytes()) as server:
        entry = served(yolo26n, pt.url(), content=b"a checkpoint")
        models = store(tmp_path, entry, served(tiny, server.url()))
        resolved = await models.resolve(DetectorSettings())
        again = await models.resolve(DetectorSettings())
        assert len(pt.ranges) == 1, "the checkpoint is kept"
    assert resolved == again
    assert resolved.message == (
        "YOLO26n was downloaded, but yolo26n.pt is a PyTorch checkpoint and its exporter is not installed; "
        f"YOLOv3-tiny is used instead. To use YOLO26n run `{sys.executable} -m pip install ultralytics==8.4.190` "
        "(several gigabytes) and then `hsi models pull yolo26n`, or put an exported yolo26n.onnx into "
        f"{tmp_path}."
    )


async def test_weights_that_cannot_be_converted(tmp_path: Path, tiny: ModelEntry) -> None:
    content = bytes(2000)
    async with FileServer(content) as server:
        models = store(tmp_path, served(tiny, server.url(), content=content))
        with pytest.raises(ModelUnavailable, match=r"YOLOv3-tiny was downloaded, but yolov3-tiny\.weights ends early"):
            await models.pull(tiny.id)
    assert models.installed(tiny.id) is None


async def test_a_lock_is_released_with_its_holder(tmp_path: Path) -> None:
    async with exclusive(tmp_path / "lock", 1):
        with pytest.raises(TimeoutError):
            async with exclusive(tmp_path / "lock", 0.05):
                pytest.fail("two hold one lock")
    async with exclusive(tmp_path / "lock", 0):
        pass
