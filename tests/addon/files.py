# SPDX-License-Identifier: AGPL-3.0-or-later
"""The files of the app, and how they are read."""

import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
ADDON = ROOT / "addon"


def read_config() -> dict[str, Any]:
    """Return the app's config.yaml."""
    config: dict[str, Any] = yaml.safe_load((ADDON / "config.yaml").read_text())
    return config


def read_translation() -> dict[str, Any]:
    """Return the English texts of the app's options and ports."""
    translation: dict[str, Any] = yaml.safe_load((ADDON / "translations" / "en.yaml").read_text())
    return translation


def read_project() -> dict[str, Any]:
    """Return the `project` table of pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project
