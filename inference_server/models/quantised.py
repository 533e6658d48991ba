# SPDX-License-Identifier: AGPL-3.0-or-later
"""Quantised forms of detectors: where they are, what they were made from, and on what they may be used.

Each has a report beside it. A form counts for one file alone, by its digest: when the model is replaced it is stale.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from inference_server.models.digest import is_intact, note_digest, note_of, sha256_of
from inference_server.models.errors import ModelError
from inference_server.settings import Backend

FOLDER = "quantised"
_MOST_REPORT = 1 << 20


class Method(StrEnum):
    """How the range of an activation follows from the values that occur in the calibration pictures."""

    MINMAX = "minmax"
    """From the least value to the largest. With YOLOv3-tiny on a real camera's pictures the scores were 0.019 apart,
    0.040 by percentile and 0.054 by entropy, which takes minutes besides and is not offered."""
    PERCENTILE = "percentile"
    """What 99.99 % of the values lie in."""


class Form(StrEnum):
    """What an activation's zero is."""

    ASYMMETRIC = "asymmetric"
    """Anywhere, so that all 256 numbers are used. For processors."""
    SYMMETRIC = "symmetric"
    """In the middle, which is all that TensorRT takes."""


ACCEPTED_BY: dict[Backend, Backend] = {
    Backend.ONNX: Backend.ONNX,
    Backend.OPENVINO: Backend.OPENVINO,
    Backend.ONNX_TENSORRT: Backend.ONNX,
    Backend.TENSORRT: Backend.ONNX,
}
"""On what a form was compared before a backend may use it: TensorRT's engines are not built yet then."""


class NotQuantised(ModelError):
    """There is no quantised form that may be used. The message is the reason (a clause), `remedy` a sentence."""

    def __init__(self, reason: str, remedy: str) -> None:
        """Keep the reason and the remedy apart."""
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Check:
    """How a quantised form judged pictures that it was not calibrated with, beside the model that it was made from.

    `objects`: what the model was sure of; `found`: what of that the form has too; `more`: what the form alone is sure
    of. `score_error`: mean difference of the scores, `overlap`: mean intersection over union, both of what was found.
    Milliseconds are medians of one picture. `refused`: why it may not be used, if it may not.
    """

    runtime: Backend
    objects: int
    found: int
    more: int
    score_error: float
    overlap: float
    model_ms: float
    form_ms: float
    refused: str | None = None

    @property
    def summary(self) -> str:
        """The numbers, for people."""
        ratio = self.model_ms / self.form_ms if self.form_ms else 0.0
        return (
            f"{self.found} of {self.objects} objects found, {self.more} more, scores {self.score_error:.3f} apart, "
            f"boxes overlap {self.overlap:.3f}; {self.form_ms:.1f} ms instead of {self.model_ms:.1f} ({ratio:.2f} x)"
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What a quantised form was made from and how good it is. `source`: SHA-256 of the model; `size`: pixels a side."""

    source: str
    size: int
    method: Method
    form: Form
    pictures: int
    held_out: int
    cameras: int
    checks: tuple[Check, ...]

    @property
    def accepted(self) -> tuple[Backend, ...]:
        """On what it may be used."""
        return tuple(check.runtime for check in self.checks if check.refused is None)

    @property
    def summary(self) -> str:
        """One line for people."""
        told = [
            f"{check.runtime}: {'refused, ' + check.refused if check.refused else check.summary}"
            for check in self.checks
        ]
        return f"int8, {self.form}, {self.method}, {self.pictures} pictures; " + "; ".join(told)


class QuantisedModels:
    """The quantised forms below one folder: `<id>.onnx` with its digest, and `<id>.json`, the report.

    A form that was refused everywhere leaves its report alone.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder, which need not exist yet."""
        self.folder = folder

    def path(self, model_id: str) -> Path:
        """Return where a model's form belongs."""
        return self.folder / f"{model_id}.onnx"

    def files(self, model_id: str) -> tuple[Path, ...]:
        """Return every file of a model's form, there or not."""
        path = self.path(model_id)
        return path, note_of(path), self._report(model_id)

    def report(self, model_id: str) -> Report | None:
        """Return a model's report; None where there is none, or none that can be read."""
        if Path(model_id).name != model_id:
            return None
        path = self._report(model_id)
        try:
            if path.stat().st_size > _MOST_REPORT:
                return None
            return _read(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None

    def keep(self, model_id: str, half: Path, report: Report) -> None:
        """Take a finished form and its report; a form that is accepted nowhere is deleted, its report kept.

        Raises OSError.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Without its report a form is not used: the old one must not speak for the new form, whenever this breaks off.
        self._report(model_id).unlink(missing_ok=True)
        path = self.path(model_id)
        if report.accepted:
            digest = sha256_of(half)
            half.replace(path)
            note_digest(path, digest)
        else:
            for old in (half, path, note_of(path)):
                old.unlink(missing_ok=True)
        part = self._report(model_id).with_suffix(".part")
        part.write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")
        part.replace(self._report(model_id))

    def current(self, model_id: str, source: Path) -> Report:
        """Return the report of a form that was made from this very file and is whole. Raises NotQuantised, OSError."""
        again = f"Run `hsi models quantise {model_id}`, or set detector.precision to f32."
        if source.suffix.lower() != ".onnx":
            raise NotQuantised(
                f"{source.name} is no ONNX file, and only these are quantised here",
                "Name the ONNX file in detector.model_file, or set detector.precision to f32.",
            )
        report = self.report(model_id)
        if report is None:
            raise NotQuantised("it has not been quantised", again)
        if report.source != sha256_of(source):
            raise NotQuantised("its quantised form was made from another file of that name", again)
        if not report.accepted:
            raise NotQuantised(f"its quantised form was not good enough ({report.summary})", _BETTER)
        if not is_intact(self.path(model_id)):
            raise NotQuantised("its quantised form is missing or damaged", again)
        return report

    def find(self, model_id: str, source: Path, backend: Backend) -> Path:
        """Return the form that a backend may use. Raises NotQuantised, OSError."""
        report = self.current(model_id, source)
        by_tensorrt = backend in {Backend.TENSORRT, Backend.ONNX_TENSORRT}
        if by_tensorrt and report.form is not Form.SYMMETRIC:
            raise NotQuantised(
                "its quantised form is one for processors, which TensorRT does not take",
                f"Run `hsi models quantise {model_id} --for-tensorrt`.",
            )
        runtime = ACCEPTED_BY.get(backend)
        check = next((check for check in report.checks if check.runtime is runtime), None)
        if check is None:
            raise NotQuantised(
                f"its quantised form was not compared on {backend}",
                f"Run `hsi models quantise {model_id}` here, where that can be done.",
            )
        if check.refused:
            raise NotQuantised(f"its quantised form was refused there: {check.refused}", _BETTER)
        return self.path(model_id)

    def _report(self, model_id: str) -> Path:
        return self.folder / f"{model_id}.json"


_BETTER = (
    "Run `hsi models quantise` again with more pictures of all your cameras, by day and by night, or another --method; "
    "or set detector.precision to f32."
)


def _read(noted: Any) -> Report:
    """Return a report from JSON. Raises ValueError, KeyError, TypeError."""
    if not isinstance(noted["source"], str) or not isinstance(noted["pictures"], int):
        raise TypeError("the report has another form")
    checks = tuple(_read_check(check) for check in noted["checks"])
    return Report(**{**noted, "method": Method(noted["method"]), "form": Form(noted["form"]), "checks": checks})


def _read_check(noted: Any) -> Check:
    reason = noted["refused"]
    if reason is not None and not isinstance(reason, str):
        raise TypeError("a reason is a text")
    score_error, overlap, model_ms, form_ms = (
        float(noted[name]) for name in ("score_error", "overlap", "model_ms", "form_ms")
    )
    objects, found, more = (int(noted[name]) for name in ("objects", "found", "more"))
    return Check(Backend(noted["runtime"]), objects, found, more, score_error, overlap, model_ms, form_ms, reason)
