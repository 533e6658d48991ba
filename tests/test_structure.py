# SPDX-License-Identifier: AGPL-3.0-or-later
"""The order of the house: who may import whom, and what is written in one place only."""

import ast
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "inference_server"
INTEGRATION = ROOT / "custom_components"

ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "settings": {"core"},
    "observability": {"core"},
    "storage": {"core"},
    "models": {"core", "settings"},
    "hardware": {"core", "settings", "models", "observability"},
    "risk": {"core", "settings", "models"},
    "detection": {"core", "models", "settings"},
    "ingest": {"core", "settings", "storage", "observability"},
    "pipeline": {"core", "settings", "storage", "ingest", "detection", "models", "risk", "observability"},
    "evaluation": {"core", "settings", "detection", "pipeline", "risk", "storage"},
    "doctor": {"core", "settings", "models", "hardware", "storage", "ingest", "detection", "risk"},
    "api": {"core", "settings", "storage", "observability", "detection", "risk"},
    "analyst_service": {"core", "settings", "storage", "observability", "risk", "models", "hardware", "api"},
    "detector_service": {
        "core",
        "settings",
        "storage",
        "observability",
        "detection",
        "models",
        "hardware",
        "ingest",
        "pipeline",
        "api",
    },
}
"""What each room may import besides itself and the package's own names; those of TOP may import everything."""
TOP = {"app", "parts", "cli", "commands", "__main__"}

ADDRESS = "github.com/home-security-intelligence"
ADDRESS_PLACES = (
    "inference_server/__init__.py",
    "custom_components/home_security_intelligence/const.py",
    "custom_components/home_security_intelligence/manifest.json",
    "addon/",
    "blueprints/",
    "docs/",
    "README.md",
    "repository.yaml",
    "tests/",
)


def _imports(file: Path) -> Iterator[str]:
    """Yield the full names of the modules that a file imports, also within functions."""
    package = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{name.name}" for name in node.names)


def _room(module: str) -> str | None:
    """Return the room of a module of the server; the package itself is none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "inference_server" and len(parts) > 1 and _exists(parts[1]) else None


def _exists(room: str) -> bool:
    return (SERVER / room).is_dir() or (SERVER / f"{room}.py").is_file()


def _python(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def _tracked() -> list[str]:
    """Return the paths of all files that belong to the repository, the new ones too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_every_room_has_a_rule() -> None:
    rooms = {path.stem for path in SERVER.iterdir() if path.name[0] not in "_." and path.suffix in {"", ".py"}}
    assert rooms - TOP == set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    files = _python(SERVER / room) if (SERVER / room).is_dir() else [SERVER / f"{room}.py"]
    forbidden = {
        (file.relative_to(ROOT).as_posix(), module)
        for file in files
        for module in _imports(file)
        if (other := _room(module)) is not None and other not in ALLOWED[room] | {room}
    }
    assert forbidden == set()


def test_the_rules_themselves_have_no_cycle() -> None:
    assert next(iter(TopologicalSorter(ALLOWED).static_order())) == "core"


def test_no_two_modules_of_the_server_import_each_other_round_about() -> None:
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in _python(SERVER)}
    graph = {name: {other for other in _imports(file) if other in modules} - {name} for name, file in modules.items()}
    TopologicalSorter(graph).prepare()


def test_the_server_and_the_integration_know_nothing_of_each_other() -> None:
    strangers = [
        (file.name, module)
        for folder, unwanted in ((SERVER, ("custom_components", "homeassistant")), (INTEGRATION, ("inference_server",)))
        for file in _python(folder)
        for module in _imports(file)
        if module.split(".")[0] in unwanted
    ]
    assert strangers == []


def test_shipped_code_imports_no_test() -> None:
    code = [*_python(SERVER), *_python(INTEGRATION)]
    assert [file.name for file in code if any(module.split(".")[0] == "tests" for module in _imports(file))] == []


def test_only_the_command_line_and_the_tool_processes_print() -> None:
    printing = {
        file.relative_to(SERVER).as_posix()
        for file in _python(SERVER)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {name for name in printing if not name.startswith("commands/")} == {
        "cli.py",
        "models/engine_tool.py",
        "models/quantise_tool.py",
    }


def test_the_public_address_is_spelt_out_only_in_its_places() -> None:
    found = [
        name
        for name in _tracked()
        if not name.startswith(ADDRESS_PLACES) and ADDRESS.encode() in (ROOT / name).read_bytes()
    ]
    assert found == []


def test_the_app_store_finds_one_app() -> None:
    names = {"config.yaml", "config.yml", "config.json"}
    assert [name for name in _tracked() if Path(name).name in names] == ["addon/config.yaml"]


def test_every_python_file_names_its_licence_first() -> None:
    unnamed = [
        name
        for name in _tracked()
        if name.endswith(".py")
        and (text := (ROOT / name).read_text(encoding="utf-8"))
        and "SPDX-License-Identifier: " not in "\n".join(text.splitlines()[:2])
    ]
    assert unnamed == []
