# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading scenarios: YAML files, each with one or several scenarios, and the homes that they share."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from inference_server.evaluation.errors import ScenarioError
from inference_server.evaluation.scenario import Home, Scenario

HOMES = "homes"
"""The folder, beside the scenarios or above them, in which homes lie that several scenarios share."""
_SUFFIXES = {".yaml", ".yml"}
_LARGEST = 2_000_000
_MOST_FILES = 10_000
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

type Place = Sequence[str | int]


def load_scenarios(path: Path) -> tuple[Scenario, ...]:
    """Return the scenarios of a file, or of all files below a folder, in order of their ids. Raises ScenarioError."""
    scenarios: dict[str, tuple[Scenario, Path]] = {}
    homes: dict[Path, Home] = {}
    for file in _files(path):
        for document in _documents(file):
            scenario = _scenario(document, file, homes)
            if scenario.id in scenarios:
                other = scenarios[scenario.id][1]
                raise ScenarioError(f'{file}, line {_line(document, ("id",))}: {other} has the id "{scenario.id}" too')
            scenarios[scenario.id] = scenario, file
    if not scenarios:
        raise ScenarioError(f"{path} holds no scenario; docs/evaluation.md describes the format")
    return tuple(scenarios[name][0] for name in sorted(scenarios))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ScenarioError(f"{path} does not exist; name a file or folder of scenarios")
    found = [file for file in path.rglob("*") if file.suffix in _SUFFIXES and HOMES not in file.relative_to(path).parts]
    if len(found) > _MOST_FILES:
        raise ScenarioError(f"{path} holds more than {_MOST_FILES} files; name a folder that holds scenarios alone")
    return sorted(found)


class _Loader(yaml.SafeLoader):
    """YAML as scenarios are written in it: no tag of its own, no alias, no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias: yaml.AliasEvent = self.get_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="a scenario has no alias (*name)", problem_mark=alias.start_mark)  # type: ignore[arg-type]
        return super().compose_node(parent, index)


def _documents(file: Path) -> Iterator[yaml.MappingNode]:
    try:
        if file.stat().st_size > _LARGEST:
            raise ScenarioError(f"{file} is larger than {_LARGEST} bytes; a scenario has some twenty lines")
        nodes = list(yaml.compose_all(file.read_text("utf-8"), _Loader))
    except OSError as error:
        raise ScenarioError(f"{file} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{file} is no text in UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ScenarioError(f"{file}{line}: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ScenarioError(f"{file} is no YAML: {str(error)[:200] or 'it is nested too deeply'}") from error
    for node in nodes:
        if not isinstance(node, yaml.MappingNode):
            raise ScenarioError(f"{file}, line {node.start_mark.line + 1}: a scenario is a mapping of fields")
        _check_keys(node, file)
        yield node


def _check_keys(node: yaml.Node, file: Path) -> None:
    """Raise ScenarioError for a key that stands twice: YAML itself takes the last, and tells nobody."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, file)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            raise ScenarioError(f"{file}, line {line}: a field has a plain name")
        if key.value in seen:
            raise ScenarioError(f"{file}, line {line}: {key.value} stands twice")
        seen.add(key.value)
        _check_keys(value, file)


def _scenario(node: yaml.MappingNode, file: Path, homes: dict[Path, Home]) -> Scenario:
    fields = _plain(node, file)
    name = fields.get("home")
    if isinstance(name, str):
        fields["home"], fields["home_name"] = _shared_home(name, file, node, homes), name
    elif "home_name" in fields:
        raise ScenarioError(f"{file}, line {_line(node, ('home_name',))}: a scenario has no home_name")
    try:
        scenario = Scenario.model_validate(fields)
    except ValidationError as error:
        raise _explained(error, node, file) from error
    for place, problem in scenario.faults():
        raise ScenarioError(f"{file}, line {_line(node, place)}: {_field(place)}: {problem}")
    return scenario


def _plain(node: yaml.MappingNode, file: Path) -> dict[str, object]:
    loader = _Loader("")
    try:
        plain: dict[str, object] = loader.construct_document(node)
    except (yaml.MarkedYAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None) or node.start_mark
        raise ScenarioError(f"{file}, line {mark.line + 1}: {getattr(error, 'problem', None) or error}") from error
    finally:
        loader.dispose()
    return plain


def _shared_home(name: str, file: Path, node: yaml.MappingNode, homes: dict[Path, Home]) -> Home:
    line = _line(node, ("home",))
    if _SLUG.fullmatch(name) is None:
        raise ScenarioError(f"{file}, line {line}: a home's name has lower-case letters, digits, - and _")
    for folder in file.resolve().parents:
        found = folder / HOMES / f"{name}.yaml"
        if found in homes:
            return homes[found]
        if found.is_file():
            homes[found] = _home(found)
            return homes[found]
    raise ScenarioError(f"{file}, line {line}: there is no {HOMES}/{name}.yaml beside it or above")


def _home(file: Path) -> Home:
    documents = list(_documents(file))
    if len(documents) != 1:
        raise ScenarioError(f"{file}: a file in {HOMES} describes one home")
    try:
        return Home.model_validate(_plain(documents[0], file))
    except ValidationError as error:
        raise _explained(error, documents[0], file) from error


def _explained(error: ValidationError, node: yaml.MappingNode, file: Path) -> ScenarioError:
    first = error.errors(include_url=False)[0]
    place = first["loc"]
    message = first["msg"].removeprefix("Value error, ")
    return ScenarioError(f"{file}, line {_line(node, place)}: {_field(place)}{': ' if place else ''}{message}")


def _field(place: Place) -> str:
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in place)


def _line(node: yaml.Node, place: Place) -> int:
    """Return the line of the innermost part of a place that stands in the file."""
    line = node.start_mark.line + 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value}
            if part not in pairs:
                break
            line, node = pairs[part][0].start_mark.line + 1, pairs[part][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
