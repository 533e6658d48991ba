# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the catalogue says of every model."""

import re
from collections import Counter
from pathlib import Path

import pytest

from inference_server.core.model import Capability
from inference_server.models.catalogue import CATALOGUE, Conversion, HttpsSource, ModelEntry, NpmSource, PypiSource
from inference_server.models.importing import MODEL_ID

PAGE = (Path(__file__).parents[3] / "docs" / "models.md").read_text()


def entries() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.id)


def test_every_capability_has_a_model() -> None:
    assert {entry.capability for entry in CATALOGUE} == set(Capability)


def test_no_two_share_an_id_a_file_or_a_digest() -> None:
    ids = Counter(entry.id for entry in CATALOGUE)
    names = Counter(file.file_name for entry in CATALOGUE for file in entry.files)
    digests = Counter(file.sha256 for entry in CATALOGUE for file in entry.files if file.sha256)
    assert [name for counts in (ids, names, digests) for name, count in counts.items() if count > 1] == []


@entries()
def test_files_have_safe_names_sizes_and_sources(entry: ModelEntry) -> None:
    assert MODEL_ID.fullmatch(entry.id)
    for file in entry.files:
        assert re.fullmatch(r"([a-z0-9][a-z0-9.-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*", file.file_name)
        assert ".." not in file.file_name
        assert file.size > 0
        assert file.sources
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.size_exact <= (file.sha256 is not None), "a size to the byte and no digest cannot both be known"
        assert file.most_bytes >= file.size
        for source in file.sources:
            match source:
                case HttpsSource(url):
                    assert url.startswith("https://")
                case PypiSource(requirement):
                    assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", requirement)
                case NpmSource(package):
                    assert re.fullmatch(r"@[a-z0-9-]+/[a-z0-9-]+@[0-9.]+", package)
            if not isinstance(source, HttpsSource):
                assert file.size_exact, "a member of an archive is known by its size"


@entries()
def test_files_of_one_model_share_a_folder_and_one_file_is_converted(entry: ModelEntry) -> None:
    if len(entry.files) > 1:
        assert all(file.file_name.startswith(f"{entry.id}/") for file in entry.files)
        assert entry.conversion is Conversion.NONE
    assert (entry.input_size > 0) == (entry.conversion is not Conversion.NONE)
    for need in (entry.memory.processor, entry.memory.gpu):
        assert need.bytes >= entry.size / 3, "less memory than a third of its weights cannot be right"


def test_detectors_can_be_wanted_in_the_settings() -> None:
    detectors = [entry for entry in CATALOGUE if entry.capability is Capability.DETECTION]
    assert {entry.id for entry in detectors} == {"yolov3-tiny", *(f"yolo26{size}" for size in "nsmlx")}
    assert all(entry.pinned for entry in detectors)


@entries()
def test_the_page_says_what_the_catalogue_says(entry: ModelEntry) -> None:
    (row,) = re.findall(rf"^\| `{re.escape(entry.id)}` \|(.*)\|$", PAGE, re.MULTILINE)
    cells = [cell.strip() for cell in row.split("|")]
    licence = entry.licence.name + ("" if entry.licence.commercial_use else "; **not commercial**")
    size = f"{'' if all(file.size_exact for file in entry.files) else 'about '}{entry.size / 1e6:,.1f}"
    pinned = "yes" if entry.pinned else "no"
    memory = [f"{need.mib:,}, {need.basis}" for need in (entry.memory.processor, entry.memory.gpu)]
    assert cells == [entry.purpose, size, *memory, entry.device, licence, pinned]
