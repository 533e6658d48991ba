# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that somebody has, taken in."""

from pathlib import Path

import pytest

from inference_server.core.model import Capability, ModelUnavailable
from inference_server.models.catalogue import ModelEntry
from inference_server.models.importing import import_file
from inference_server.models.store import ModelStore
from tests.server.models.conftest import model, weights

CONTENT = b"weights" * 100


def willing(_file: Path) -> None:
    """Find every file fit."""


def unwilling(file: Path) -> None:
    raise ModelUnavailable(f"{file.name} cannot be used as a detector", "Choose another one.")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "downloaded" / "whatever.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def store(tmp_path: Path, *entries: ModelEntry) -> ModelStore:
    return ModelStore(tmp_path / "models", catalogue=entries)


@pytest.mark.parametrize("model_id", [None, "sample"])
async def test_a_file_of_the_catalogue_is_recognised(tmp_path: Path, file: Path, model_id: str | None) -> None:
    models = store(tmp_path, model(weights("a.bin", CONTENT)))
    assert await import_file(models, file, model_id, unwilling) == ("sample", tmp_path / "models/downloads/a.bin")
    assert models.installed("sample") is not None
    assert [check.detail for check in models.verify("sample")] == ["as published"]
    assert file.exists()


async def test_a_detector_of_ones_own_is_tried_and_wins(tmp_path: Path, file: Path, yolo26n: ModelEntry) -> None:
    own = file.rename(file.with_suffix(".onnx"))
    models = store(tmp_path, yolo26n)
    with pytest.raises(ModelUnavailable, match="cannot be used as a detector"):
        await import_file(models, own, "yolo26n", unwilling)
    assert models.installed("yolo26n") is None
    for model_id in ("yolo26n", "my-detector"):
        target = tmp_path / "models" / f"{model_id}.onnx"
        assert await import_file(models, own, model_id, willing) == (model_id, target)
        assert models.installed(model_id) == target
        assert models.verify(model_id)[0].ok
        target.write_bytes(b"damaged")
        assert not models.verify(model_id)[0].ok
        assert await models.remove(model_id) > 0
        assert models.installed(model_id) is None


async def test_an_unpinned_file_is_taken_by_its_name(tmp_path: Path, file: Path) -> None:
    models = store(tmp_path, model(weights("a.bin", b"other", pinned=False)))
    named = file.rename(file.with_name("a.bin"))
    await import_file(models, named, "sample", unwilling)
    assert models.installed("sample") is not None
    assert [check.detail for check in models.verify("sample")] == ["as first pulled"]


@pytest.mark.parametrize(
    ("name", "model_id", "reason"),
    [
        ("a.bin", None, "is none of the catalogue's files"),
        ("a.bin", "sample", r"is no file of Sample; expected was one of: a\.bin \([0-9a-f]{64}\)"),
        ("a.pt", "detector", "is neither the published file of detector nor an ONNX file"),
        ("a.pt", "unheard-of", "is neither the published file of unheard-of nor an ONNX file"),
        ("a.onnx", "../escaped", "cannot be the id of a model"),
        ("a.onnx", "/etc/passwd", "cannot be the id of a model"),
        ("a.onnx", "A" * 100, "cannot be the id of a model"),
        ("a.onnx", "", "cannot be the id of a model"),
    ],
)
async def test_what_is_not_what_it_is_said_to_be_is_refused(
    tmp_path: Path, file: Path, name: str, model_id: str | None, reason: str
) -> None:
    detector = model(weights("d.pt", b"checkpoint"), model_id="detector", capability=Capability.DETECTION)
    models = store(tmp_path, model(weights("a.bin", b"other")), detector)
    named = file.rename(file.with_name(name))
    with pytest.raises(ModelUnavailable, match=reason):
        await import_file(models, named, model_id, willing)
    assert not list(tmp_path.rglob("models/**/*.part"))
    assert not (tmp_path / "escaped.onnx").exists()


async def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ModelUnavailable, match="is no file"):
            await import_file(store(tmp_path), path, "sample", willing)


async def test_a_full_disk_is_told(tmp_path: Path, file: Path) -> None:
    models = ModelStore(tmp_path / "models", catalogue=[model(weights("a.bin", CONTENT))], free=lambda _folder: 10)
    with pytest.raises(ModelUnavailable, match=r"needs 105 MB in .*, where 0 MB are free"):
        await import_file(models, file, None, willing)
