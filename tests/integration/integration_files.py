# SPDX-License-Identifier: Apache-2.0
"""The files of the integration, for tests that look at them."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
INTEGRATION = REPOSITORY / "custom_components/home_security_intelligence"


def load_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def sources() -> dict[Path, ast.Module]:
    """All modules of the integration, parsed."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(INTEGRATION.rglob("*.py"))}


def components_imported(module: ast.Module) -> set[str]:
    """The Home Assistant components that a module imports."""
    prefix = "homeassistant.components"
    used: set[str] = set()
    for node in ast.walk(module):
        match node:
            case ast.ImportFrom(module=name, names=names, level=0) if name == prefix:
                used.update(alias.name for alias in names)
            case ast.ImportFrom(module=str(name), level=0) if name.startswith(prefix):
                used.add(name.split(".")[2])
            case ast.Import(names=names):
                used.update(alias.name.split(".")[2] for alias in names if alias.name.startswith(f"{prefix}."))
    return used


def packages_imported(module: ast.Module) -> set[str]:
    """The top-level packages that a module imports absolutely."""
    imported: set[str] = set()
    for node in ast.walk(module):
        match node:
            case ast.ImportFrom(module=str(name), level=0):
                imported.add(name.split(".", maxsplit=1)[0])
            case ast.Import(names=names):
                imported.update(alias.name.split(".")[0] for alias in names)
    return imported


def string_arguments(keyword: str, file: str = "*.py") -> Iterator[str]:
    """Every string that the integration passes as this keyword argument, or those in a file."""
    for module in (module for path, module in sources().items() if path.match(file)):
        for node in ast.walk(module):
            match node:
                case ast.keyword(arg=name, value=ast.Constant(value=str(text))) if name == keyword:
                    yield text
