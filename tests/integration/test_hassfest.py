# SPDX-License-Identifier: Apache-2.0
"""The integration keeps the rules of hassfest and of the stores; and the rules notice when it does not."""

import sys
from pathlib import Path
from typing import Any

import homeassistant
import probatio
import pytest
from awesomeversion import AwesomeVersion
from homeassistant.const import Platform
from homeassistant.util.yaml import load_yaml_dict
from PIL import Image

from custom_components.home_security_intelligence.const import DOMAIN, PROJECT_URL
from tests.integration import hassfest
from tests.integration.integration_files import (
    INTEGRATION,
    REPOSITORY,
    components_imported,
    load_json,
    packages_imported,
    sources,
)

CORE_COMPONENTS = Path(homeassistant.__file__).parent / "components"
LICENCE_LINE = "# SPDX-License-Identifier: Apache-2.0"


@pytest.fixture
def manifest() -> dict[str, Any]:
    """The manifest."""
    return load_json(INTEGRATION / "manifest.json")


def test_manifest(manifest: dict[str, Any]) -> None:
    hassfest.MANIFEST(manifest)
    assert manifest["domain"] == INTEGRATION.name == DOMAIN
    assert manifest["documentation"] == PROJECT_URL
    assert manifest["issue_tracker"] == f"{PROJECT_URL}/issues"
    assert not (CORE_COMPONENTS / DOMAIN).exists()


def test_dependencies_exist(manifest: dict[str, Any]) -> None:
    for dependency in (*manifest["dependencies"], *manifest["after_dependencies"]):
        assert (CORE_COMPONENTS / dependency).is_dir(), dependency


def test_what_is_imported_is_declared(manifest: dict[str, Any]) -> None:
    declared = {*manifest["dependencies"], *manifest["after_dependencies"]} | hassfest.ALWAYS_AVAILABLE
    for path, module in sources().items():
        allowed = declared | ({path.stem} & hassfest.PLATFORM_FILES)
        assert components_imported(module) <= allowed, path.name


def test_nothing_else_is_imported() -> None:
    allowed = {"homeassistant", "aiohttp", "yarl", "probatio"}
    for path, module in sources().items():
        foreign = packages_imported(module) - allowed - sys.stdlib_module_names
        assert not foreign, path.name


def test_client_knows_nothing_of_home_assistant() -> None:
    for path, module in sources().items():
        if path.parent.name == "client":
            assert "homeassistant" not in packages_imported(module), path.name


def test_translations() -> None:
    strings = load_json(INTEGRATION / "strings.json")
    hassfest.TRANSLATIONS(strings)
    assert load_json(INTEGRATION / "translations/en.json") == strings


def test_icons() -> None:
    icons = load_json(INTEGRATION / "icons.json")
    hassfest.ICONS(icons)
    strings = load_json(INTEGRATION / "strings.json")
    for platform, entities in icons["entity"].items():
        for name, icon in entities.items():
            translated = strings["entity"][platform][name]
            assert icon.get("state", {}).keys() <= {*translated.get("state", {}), "on", "off"}, name
            assert icon["default"] not in icon.get("state", {}).values(), name


def test_every_entity_has_an_icon() -> None:
    strings = load_json(INTEGRATION / "strings.json")["entity"]
    icons = load_json(INTEGRATION / "icons.json")["entity"]
    assert {platform: set(names) for platform, names in icons.items()} == {
        platform: set(names) for platform, names in strings.items()
    }


def test_quality_scale() -> None:
    hassfest.QUALITY_SCALE(load_yaml_dict(INTEGRATION / "quality_scale.yaml"))


def test_platforms_limit_parallel_updates() -> None:
    platforms = {platform.value for platform in Platform}
    for path in INTEGRATION.glob("*.py"):
        if path.stem in platforms:
            assert "\nPARALLEL_UPDATES = " in path.read_text(encoding="utf-8"), path.name


def test_stores() -> None:
    hacs = load_json(REPOSITORY / "hacs.json")
    hassfest.HACS(hacs)
    assert AwesomeVersion(hacs["homeassistant"]) >= "2026.10.0"
    [only] = [path.parent for path in (REPOSITORY / "custom_components").glob("*/manifest.json")]
    assert only == INTEGRATION


@pytest.mark.parametrize(
    ("name", "width", "height"),
    [
        ("icon", 256, 256),
        ("icon@2x", 512, 512),
        ("logo", 512, 164),
        ("logo@2x", 1024, 328),
        ("dark_logo", 512, 164),
        ("dark_logo@2x", 1024, 328),
    ],
)
def test_brand(name: str, width: int, height: int) -> None:
    with Image.open(INTEGRATION / "brand" / f"{name}.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (width, height))


@pytest.mark.parametrize("folder", [INTEGRATION, REPOSITORY / "blueprints"])
def test_licence(folder: Path) -> None:
    licence = (folder / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    for path in (*folder.rglob("*.py"), *folder.rglob("*.yaml")):
        assert path.read_text(encoding="utf-8").startswith(LICENCE_LINE), path


def test_is_typed() -> None:
    assert (INTEGRATION / "py.typed").is_file()


@pytest.mark.parametrize(
    "change",
    [
        {"zoo": 1},
        {"name": None},
        {"version": "one"},
        {"documentation": "http://example.com"},
        {"documentation": "https://www.home-assistant.io/integrations/hsi"},
        {"codeowners": ["somebody"]},
        {"requirements": ["anything"]},
        {"iot_class": "telepathy"},
        {"zeroconf": ["hsi"]},
    ],
)
def test_rules_notice_a_bad_manifest(manifest: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(probatio.Invalid):
        hassfest.MANIFEST(manifest | change)


def test_rules_notice_disorder(manifest: dict[str, Any]) -> None:
    with pytest.raises(probatio.Invalid, match="alphabetical"):
        hassfest.MANIFEST(dict(reversed(manifest.items())))


@pytest.mark.parametrize(
    "text",
    [" x", "x ", "<b>x</b>", "see https://example.com", "'{x}'", "[%key:common::x%]", "{0x}", 5],
)
def test_rules_notice_bad_texts(text: object) -> None:
    with pytest.raises(probatio.Invalid):
        hassfest.TRANSLATIONS({"exceptions": {"broken": {"message": text}}})


@pytest.mark.parametrize(
    "strings",
    [
        {"unknown": {}},
        {"exceptions": {"Bad key": {"message": "x"}}},
        {"exceptions": {"key": {}}},
        {"issues": {"key": {"title": "x"}}},
        {"issues": {"key": {"title": "x", "description": "x", "fix_flow": {"step": {}}}}},
        {"issues": {"key": {"title": "x", "fix_flow": {}}}},
        {"config": {"step": {"user": {"data": {"host": "Host"}}}}},
        {"entity": {"sensor": {"x": {"state": {"on": "{x}"}}}}},
    ],
)
def test_rules_notice_bad_translations(strings: dict[str, Any]) -> None:
    with pytest.raises(probatio.Invalid):
        hassfest.TRANSLATIONS(strings)


@pytest.mark.parametrize(
    "icons",
    [{"default": "hass:x"}, {"default": "mdi:"}, {"range": {"10": "mdi:a", "5": "mdi:b"}}, {"state": {"on": 1}}],
)
def test_rules_notice_bad_icons(icons: dict[str, Any]) -> None:
    with pytest.raises(probatio.Invalid):
        hassfest.ICONS({"entity": {"sensor": {"x": icons}}})


@pytest.mark.parametrize("status", ["doing", {"status": "exempt"}, {"status": "done", "comment": "x"}, None])
def test_rules_notice_bad_quality(status: object) -> None:
    rules: dict[str, Any] = dict.fromkeys(hassfest.QUALITY_RULES, "done")
    hassfest.QUALITY_SCALE({"rules": rules})
    with pytest.raises(probatio.Invalid):
        hassfest.QUALITY_SCALE({"rules": rules | {"brands": status}})
    with pytest.raises(probatio.Invalid):
        hassfest.QUALITY_SCALE({"rules": rules | {"invented": "done"}})
