# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every source file names its licence, the one that LICENSES/README.md promises for its folder."""

import hashlib
import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
AGPL, APACHE = "AGPL-3.0-or-later", "Apache-2.0"
EITHER = frozenset({AGPL, APACHE})
LICENCES: dict[str, frozenset[str]] = {
    "custom_components": frozenset({APACHE}),
    "frontend": frozenset({APACHE}),
    "blueprints": frozenset({APACHE}),
    "inference_server": frozenset({AGPL}),
    "addon": frozenset({AGPL}),
    "deploy": frozenset({AGPL}),
    "docs": EITHER,
    "tests": EITHER,
    "benchmarks": EITHER,
    "scripts": EITHER,
    ".github": EITHER,
}
SUFFIXES = {".css", ".mts", ".py", ".sh", ".ts", ".tsx"}
YAML_FOLDERS = {"addon", "blueprints", "deploy"}
YAML = {".yaml", ".yml"}
HEADER = re.compile(r"SPDX-License-Identifier: ([\w.-]+)")
HEADER_LINES = 4
TEXTS = {
    "LICENSE": "eb1e647870add0502f8f010b19de32af",
    "LICENSES/AGPL-3.0-or-later.txt": "eb1e647870add0502f8f010b19de32af",
    "LICENSES/Apache-2.0.txt": "3b83ef96387f14655fc854ddc3c6bd57",
}
"""MD5 of the official texts, as distributions that check licences list them."""


def files_of_the_repository() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def is_source(name: str) -> bool:
    path = PurePosixPath(name)
    if path.suffix in YAML:
        return path.parts[0] in YAML_FOLDERS
    return path.suffix in SUFFIXES or path.name.startswith("Dockerfile") or (not path.suffix and is_script(name))


def is_script(name: str) -> bool:
    with (ROOT / name).open("rb") as file:
        return file.read(2) == b"#!"


def allowed(name: str) -> frozenset[str]:
    return LICENCES.get(PurePosixPath(name).parts[0], frozenset({AGPL}))


def licence_of(text: str) -> str | None:
    match = HEADER.search("\n".join(text.splitlines()[:HEADER_LINES]))
    return match[1] if match else None


def test_every_source_file_has_the_licence_of_its_folder() -> None:
    sources = [name for name in files_of_the_repository() if is_source(name)]
    assert len(sources) > 30
    wrong = {name: found for name in sources if (found := licence_of((ROOT / name).read_text())) not in allowed(name)}
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("# SPDX-License-Identifier: Apache-2.0\n", APACHE),
        ("#!/bin/sh\n# SPDX-License-Identifier: AGPL-3.0-or-later\n", AGPL),
        ('"""No header."""\n', None),
        ("\n" * HEADER_LINES + "# SPDX-License-Identifier: Apache-2.0\n", None),
    ],
)
def test_the_header_is_read_at_the_top(text: str, licence: str | None) -> None:
    assert licence_of(text) == licence


@pytest.mark.parametrize("name", TEXTS)
def test_licence_texts_are_the_official_ones(name: str) -> None:
    assert hashlib.md5((ROOT / name).read_bytes()).hexdigest() == TEXTS[name]  # noqa: S324


def test_the_overview_names_the_same_licences() -> None:
    overview = (ROOT / "LICENSES" / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)/`.*\| \[([\w.-]+)\]", overview, re.MULTILINE)
    assert dict(rows) == {folder: min(names) for folder, names in LICENCES.items() if names != EITHER}
