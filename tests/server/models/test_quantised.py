# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which quantised form may be used, on what, and what is said of one that may not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from inference_server.models.digest import sha256_of
from inference_server.models.quantised import Check, Form, Method, NotQuantised, QuantisedModels, Report
from inference_server.models.store import ModelStore
from inference_server.settings import Backend

GOOD = Check(Backend.ONNX, 20, 20, 0, 0.01, 0.95, 40.0, 20.0)
BAD = replace(GOOD, runtime=Backend.OPENVINO, found=3, refused="it finds 3 of 20 objects, and 95% are needed")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The owner's own model, which nobody looks into here."""
    path = tmp_path / "street.onnx"
    path.write_bytes(b"a model")
    return path


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A models folder."""
    return ModelStore(tmp_path)


def kept(store: ModelStore, source: Path, *checks: Check, form: Form = Form.ASYMMETRIC) -> QuantisedModels:
    """Keep a form of the model that was compared with this result."""
    half = store.folder / "half"
    half.write_bytes(b"8 bits")
    report = Report(sha256_of(source), 512, Method.MINMAX, form, 60, 20, 2, checks)
    store.quantised.keep("street", half, report)
    return store.quantised


def refusal(forms: QuantisedModels, source: Path, backend: Backend = Backend.ONNX) -> str:
    """Return why a form is not used, and what to do."""
    with pytest.raises(NotQuantised) as error:
        forms.find("street", source, backend)
    return f"{error.value}: {error.value.remedy}"


def test_a_form_is_used_where_it_was_found_good(store: ModelStore, source: Path) -> None:
    forms = kept(store, source, GOOD, BAD)
    assert forms.find("street", source, Backend.ONNX).read_bytes() == b"8 bits"
    assert forms.report("street") == Report(
        sha256_of(source), 512, Method.MINMAX, Form.ASYMMETRIC, 60, 20, 2, (GOOD, BAD)
    )
    assert "was refused there: it finds 3 of 20 objects" in refusal(forms, source, Backend.OPENVINO)
    assert "--for-tensorrt" in refusal(forms, source, Backend.TENSORRT)
    symmetric = kept(store, source, GOOD, form=Form.SYMMETRIC)
    assert symmetric.find("street", source, Backend.TENSORRT) == forms.path("street")
    assert "was not compared on openvino" in refusal(symmetric, source, Backend.OPENVINO)


def test_a_form_of_another_file_is_stale(store: ModelStore, source: Path) -> None:
    forms = kept(store, source, GOOD)
    source.write_bytes(b"a newer model")
    assert "made from another file" in refusal(forms, source)
    assert [check.ok for check in store.verify("street")] == [True, False]


def test_none_and_one_that_was_refused_everywhere(store: ModelStore, source: Path) -> None:
    assert "has not been quantised: Run `hsi models quantise street`" in refusal(store.quantised, source)
    kept(store, source, GOOD)
    forms = kept(store, source, BAD)
    assert not forms.path("street").exists()
    assert "was not good enough" in refusal(forms, source)
    assert "no ONNX file" in refusal(forms, source.with_suffix(".xml"))
    found = store.verify("street")[-1]
    assert (found.ok, "refused, it finds 3 of 20" in found.detail) == (True, True)


def test_a_damaged_form_is_not_used(store: ModelStore, source: Path) -> None:
    forms = kept(store, source, GOOD)
    forms.path("street").write_bytes(b"7 bits")
    assert "missing or damaged" in refusal(forms, source)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"source": 1}',
        "runtime",
        "objects",
        "score_error",
        "form",
    ],
)
def test_a_report_that_cannot_be_read_is_none(store: ModelStore, source: Path, content: str) -> None:
    forms = kept(store, source, GOOD)
    path = forms.folder / "street.json"
    noted = json.loads(path.read_text(encoding="utf-8"))
    if content in noted:
        content = json.dumps({**noted, content: "1e400"})
    elif content in noted["checks"][0]:
        content = json.dumps({**noted, "checks": [{**noted["checks"][0], content: [1e308]}]})
    path.write_text(content, encoding="utf-8")
    assert forms.report("street") is None
    assert "has not been quantised" in refusal(forms, source)


async def test_a_form_goes_with_its_model(store: ModelStore, source: Path) -> None:
    forms = kept(store, source, GOOD)
    await store.remove("street", own=True)
    assert not source.exists()
    assert not any(path.exists() for path in forms.files("street"))
