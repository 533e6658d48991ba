# SPDX-License-Identifier: AGPL-3.0-or-later
"""The image has no compiler: every locked dependency of the server has a wheel for each of the app's processors."""

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from tests.addon.files import ROOT, read_config, read_project

MACHINES = {"aarch64": "aarch64", "amd64": "x86_64"}
GLIBC_MINOR = 41
"""Debian trixie has glibc 2.41."""

EXTRAS = ("clips", "openvino", "postgres", "redis")
"""Of the image; openvino for one of the processors."""

WITHOUT_COMPILER = {"pyftpdlib"}
"""Published as pure Python source alone, from which a wheel is built without a compiler."""

Package = dict[str, Any]


@pytest.mark.parametrize("arch", read_config()["arch"])
def test_every_dependency_has_a_wheel(arch: str) -> None:
    machine = MACHINES[arch]
    tags, packages = set(_tags(machine)), list(_dependencies(machine))
    assert len(packages) > 20
    without_wheel = {package["name"] for package in packages if not _has_wheel(package, tags)}
    assert without_wheel <= WITHOUT_COMPILER


def test_a_missing_wheel_is_noticed() -> None:
    other_machine = {"wheels": [{"url": "https://host/numpy-2.3.2-cp314-cp314-manylinux_2_27_x86_64.whl"}]}
    assert not _has_wheel(other_machine, set(_tags("aarch64")))
    assert _has_wheel(other_machine, set(_tags("x86_64")))


def _dependencies(machine: str) -> Iterator[Package]:
    packages: list[Package] = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    environment = {
        "implementation_name": "cpython",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": "3.14.2",
        "python_version": "3.14",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    project = next(package for package in packages if package["name"] == read_project()["name"])
    waiting = [
        *project["dependencies"],
        *(wanted for name in EXTRAS for wanted in project["optional-dependencies"][name]),
    ]
    seen = set[tuple[str, str]]()
    while waiting:
        wanted = waiting.pop()
        if "marker" in wanted and not Marker(wanted["marker"]).evaluate(environment):
            continue
        package = _locked(packages, wanted)
        extras = [dep for extra in wanted.get("extra", []) for dep in package["optional-dependencies"][extra]]
        if (key := (package["name"], str(wanted.get("extra")))) not in seen:
            seen.add(key)
            waiting += package.get("dependencies", []) + extras
            yield package


def _locked(packages: list[Package], wanted: dict[str, Any]) -> Package:
    (package,) = [
        package
        for package in packages
        if package["name"] == wanted["name"] and wanted.get("version") in {None, package["version"]}
    ]
    return package


def _tags(machine: str) -> Iterator[Tag]:
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(5, GLIBC_MINOR + 1)]
    platforms += [f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}", f"linux_{machine}"]
    yield from cpython_tags((3, 14), ["cp314"], platforms)
    yield from compatible_tags((3, 14), "cp314", platforms)


def _has_wheel(package: Package, tags: set[Tag]) -> bool:
    names = (wheel["url"].rsplit("/", 1)[-1] for wheel in package.get("wheels", []))
    return any(not tags.isdisjoint(parse_wheel_filename(name)[3]) for name in names)
