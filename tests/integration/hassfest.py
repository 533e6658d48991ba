# SPDX-License-Identifier: Apache-2.0
"""The rules of hassfest and of the stores for custom integrations, as schemas and small checks.

The real hassfest is no part of the Home Assistant package; it runs in continuous integration on GitHub. These rules
are written from its published documentation and use Home Assistant's own validators.
"""

import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any, Final
from urllib.parse import urlparse

import probatio
from awesomeversion import AwesomeVersion, AwesomeVersionStrategy
from homeassistant.const import Platform
from homeassistant.helpers import config_validation as cv
from probatio import Invalid, Optional, Required, Schema

KEY: Final = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
URL: Final = re.compile(r"((ftp|https?|mqtts?|wss?)://|www\.)[a-z0-9]", re.IGNORECASE)
QUOTED_PLACEHOLDER: Final = re.compile(r"'{\w+}'")

ALWAYS_AVAILABLE: Final = {platform.value for platform in Platform} | {
    "automation",
    "frontend",
    "homeassistant",
    "media_source",
    "persistent_notification",
    "system_health",
    "websocket_api",
}
"""Components that need not be declared as dependencies."""

PLATFORM_FILES: Final = {"diagnostics", "repairs", "logbook"}
"""Components whose names are allowed in a file of the same name."""


def key(value: Any) -> str:
    """A translation key."""
    if not isinstance(value, str) or not KEY.fullmatch(value):
        raise Invalid(f"{value!r} is no translation key")
    return value


def sentence(value: Any) -> str:
    """A translated text."""
    if not isinstance(value, str):
        raise Invalid(f"{value!r} is no text")
    text = cv.string_with_no_html(value)
    if text != text.strip():
        raise Invalid(f"{text!r} begins or ends with a space")
    if URL.search(text):
        raise Invalid(f"{text!r} contains a URL; use a placeholder")
    if QUOTED_PLACEHOLDER.search(text):
        raise Invalid(f"{text!r} has a placeholder in single quotes")
    if "[%key:" in text:
        raise Invalid(f"{text!r} refers to another text, which nobody resolves in a custom integration")
    for placeholder in placeholders(text):
        if not placeholder.isidentifier():
            raise Invalid(f"{text!r} has a placeholder that is no identifier")
    return text


def plain(value: Any) -> str:
    """A translated text without placeholders."""
    text = sentence(value)
    if placeholders(text):
        raise Invalid(f"{text!r} has placeholders, which nobody fills in")
    return text


def placeholders(text: str) -> set[str]:
    """The names of the placeholders of a text."""
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def icon(value: Any) -> str:
    """A Material Design icon."""
    if not isinstance(value, str) or not re.fullmatch(r"mdi:[a-z0-9]+(-[a-z0-9]+)*", value):
        raise Invalid(f"{value!r} is no icon")
    return value


def by_key(value: Any, keys: Callable[[Any], str] = key) -> Any:
    """An object with free, well-formed keys."""
    return cv.schema_with_slug_keys(value, slug_validator=keys)


def described_fields(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """Every field of a form has a name and a description."""
    if step.get("data", {}).keys() != step.get("data_description", {}).keys():
        raise Invalid("fields and descriptions of fields differ")
    return step


STEP: Final = probatio.All(
    Schema(
        {
            Optional("title"): sentence,
            Optional("description"): sentence,
            Optional("data"): {str: sentence},
            Optional("data_description"): {str: sentence},
            Optional("submit"): sentence,
        }
    ),
    described_fields,
)


def fixed_or_described(issue: Mapping[str, Any]) -> Mapping[str, Any]:
    """An issue has either a description or a dialog that repairs it."""
    if len(issue.keys() & {"description", "fix_flow"}) != 1:
        raise Invalid("an issue needs a description or a fix_flow, and not both")
    return issue


ISSUE: Final = probatio.All(
    Schema(
        {
            Required("title"): sentence,
            Optional("description"): sentence,
            Optional("fix_flow"): {
                Required("step"): by_key(STEP),
                Optional("error"): by_key(sentence),
                Optional("abort"): by_key(sentence),
            },
        }
    ),
    fixed_or_described,
)
ATTRIBUTES: Final = by_key({Optional("name"): plain, Optional("state"): by_key(plain)})
TRANSLATIONS: Final = Schema(
    {
        Optional("config"): {
            Optional("flow_title"): sentence,
            Required("step"): by_key(STEP),
            Optional("error"): by_key(sentence),
            Optional("abort"): by_key(sentence),
        },
        Optional("entity"): by_key(
            by_key(
                {
                    Optional("name"): sentence,
                    Optional("state"): by_key(plain),
                    Optional("state_attributes"): ATTRIBUTES,
                    Optional("unit_of_measurement"): plain,
                }
            )
        ),
        Optional("exceptions"): by_key({Required("message"): sentence}),
        Optional("issues"): by_key(ISSUE),
    }
)


def ascending(ranges: Mapping[str, Any]) -> Mapping[str, Any]:
    """Icon ranges begin at rising numbers."""
    starts = [float(start) for start in ranges]
    if starts != sorted(set(starts)):
        raise Invalid("ranges do not ascend")
    return ranges


ICON_SET: Final = {
    Optional("default"): icon,
    Optional("state"): by_key(icon),
    Optional("range"): probatio.All(Schema({str: icon}), ascending),
}
ICONS: Final = Schema(
    {Optional("entity"): by_key(by_key({**ICON_SET, Optional("state_attributes"): by_key(ICON_SET)}))}
)


def version(value: Any) -> str:
    """A version that Home Assistant can compare."""
    strategy = AwesomeVersion(str(value)).strategy
    if strategy not in (AwesomeVersionStrategy.SEMVER, AwesomeVersionStrategy.CALVER):
        raise Invalid(f"{value!r} is no version")
    return str(value)


def documentation(value: Any) -> str:
    """The address of a custom integration's own documentation."""
    if urlparse(value).scheme != "https" or "home-assistant.io" in value:
        raise Invalid(f"{value!r} is not our own https address")
    return str(value)


def in_order(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Domain and name come first, everything else by the alphabet."""
    names = list(manifest)
    if names != ["domain", "name", *sorted(set(names) - {"domain", "name"})]:
        raise Invalid("keys must be domain, name, then alphabetical")
    return manifest


MANIFEST: Final = probatio.All(
    Schema(
        {
            Required("domain"): cv.slug,
            Required("name"): str,
            Required("codeowners"): [probatio.Match(r"^@[\w-]+(/[\w-]+)?$")],
            Required("config_flow"): True,
            Required("documentation"): documentation,
            Required("integration_type"): probatio.In(["device", "hub", "service"]),
            Required("iot_class"): probatio.In(["local_push", "local_polling"]),
            Required("issue_tracker"): documentation,
            Required("version"): version,
            Optional("after_dependencies"): [cv.slug],
            Optional("dependencies"): [cv.slug],
            Optional("quality_scale"): probatio.In(["bronze", "silver", "gold", "platinum", "custom"]),
            Optional("requirements"): [probatio.Match(r"^[\w-]+==[\w.]+$")],
            Optional("zeroconf"): [probatio.Match(r"^_[\w-]+\._(tcp|udp)\.local\.$")],
        }
    ),
    in_order,
)
HACS: Final = Schema(
    {
        Required("name"): str,
        Required("filename"): probatio.Match(r"^\w+\.zip$"),
        Required("homeassistant"): version,
        Required("zip_release"): True,
    }
)

QUALITY_RULES: Final = frozenset(
    {
        "action-setup",
        "appropriate-polling",
        "brands",
        "common-modules",
        "config-flow",
        "config-flow-test-coverage",
        "dependency-transparency",
        "docs-actions",
        "docs-conditions",
        "docs-high-level-description",
        "docs-installation-instructions",
        "docs-removal-instructions",
        "docs-triggers",
        "entity-event-setup",
        "entity-unique-id",
        "has-entity-name",
        "runtime-data",
        "test-before-configure",
        "test-before-setup",
        "unique-config-entry",
        "action-exceptions",
        "config-entry-unloading",
        "docs-configuration-parameters",
        "docs-installation-parameters",
        "entity-unavailable",
        "integration-owner",
        "log-when-unavailable",
        "parallel-updates",
        "reauthentication-flow",
        "test-coverage",
        "devices",
        "diagnostics",
        "discovery",
        "discovery-update-info",
        "docs-data-update",
        "docs-examples",
        "docs-known-limitations",
        "docs-supported-devices",
        "docs-supported-functions",
        "docs-troubleshooting",
        "docs-use-cases",
        "dynamic-devices",
        "entity-category",
        "entity-device-class",
        "entity-disabled-by-default",
        "entity-translations",
        "exception-translations",
        "icon-translations",
        "reconfiguration-flow",
        "repair-issues",
        "stale-devices",
        "async-dependency",
        "inject-websession",
        "strict-typing",
    }
)
QUALITY_SCALE: Final = Schema(
    {
        Required("rules"): {
            Required(rule): probatio.Any("done", "todo", {Required("status"): "exempt", Required("comment"): str})
            for rule in QUALITY_RULES
        }
    }
)
