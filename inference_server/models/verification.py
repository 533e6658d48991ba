# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the files of a model are still what they were when they came, reading all of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inference_server.models.catalogue import ModelEntry
from inference_server.models.digest import matches_note, noted_digest, sha256_of
from inference_server.models.places import Places
from inference_server.models.quantised import NotQuantised, QuantisedModels


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The finding on one file of a model."""

    path: Path
    ok: bool
    detail: str


def verify_own(path: Path) -> FileCheck:
    """Check a file of the owner's. Raises OSError."""
    digest, noted = sha256_of(path), noted_digest(path)
    if noted is not None and noted != digest:
        return FileCheck(path, False, f"SHA-256 {digest}, not {noted} as when it was imported")
    return FileCheck(path, True, f"your own file, SHA-256 {digest}")


def verify_files(entry: ModelEntry, places: Places) -> Iterator[FileCheck]:
    """Check the files of a model of the catalogue that are there. Raises OSError."""
    for file in entry.files:
        path = places.download(file)
        expected = places.digest(file)
        if path.exists():
            found = sha256_of(path)
            right = "as published" if file.sha256 else "as first pulled"
            good = found == expected
            yield FileCheck(path, good, right if good else f"SHA-256 {found}, not {expected}")
    converted = places.converted(entry)
    if converted and converted.exists():
        good = matches_note(converted)
        yield FileCheck(converted, good, "as converted" if good else "changed since it was converted")


def verify_quantised(forms: QuantisedModels, model_id: str, source: Path | None) -> Iterator[FileCheck]:
    """Check the quantised form of a model, if there is one; `source` is what it was made from."""
    path, report = forms.path(model_id), forms.report(model_id)
    if report is None and not path.is_file():
        return
    if report is not None and not report.accepted:
        yield FileCheck(path, True, f"not kept: {report.summary}")
    elif source is None:
        told = report.summary if report else "no report"
        yield FileCheck(path, matches_note(path), f"of a model that is not installed: {told}")
    else:
        try:
            yield FileCheck(path, True, forms.current(model_id, source).summary)
        except (NotQuantised, OSError) as error:
            yield FileCheck(path, False, str(error))
