# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the logs hold against us."""

import re
from pathlib import Path

from scripts.development.repository import INTEGRATION_DOMAIN

_HOME_ASSISTANT = re.compile(r"^\S+ \S+ (WARNING|ERROR|CRITICAL) \(.*?\) \[(?P<logger>[^\]]+)\] (?P<text>.*)")
_SERVER = re.compile(r"^\S+Z (ERROR|CRITICAL) ")
_TRACEBACK = "Traceback (most recent call last)"
_STANDING_WARNING = f"We found a custom integration {INTEGRATION_DOMAIN} which has not been tested by Home Assistant"
_LOSS = "Error requesting Home Security Intelligence data"
_OURS = (INTEGRATION_DOMAIN, "Home Security Intelligence", "notify_on_risk")
_SUSPECT_LOGGERS = ("homeassistant.components.automation", "homeassistant.helpers.template")


def of_home_assistant(log: Path, losses: int) -> list[str]:
    """Return the warnings and errors about the integration or the blueprint that nothing explains.

    Home Assistant warns of every custom integration, and a lost server is told once for each loss.
    """
    found = []
    for line in log.read_text(errors="replace").splitlines():
        entry = _HOME_ASSISTANT.match(line)
        if entry is None or _STANDING_WARNING in line:
            continue
        if _LOSS in line and losses > 0:
            losses -= 1
        elif any(name in line for name in _OURS) or entry["logger"].startswith(_SUSPECT_LOGGERS):
            found.append(line)
    return found


def of_server(log: Path) -> list[str]:
    """Return the errors in the server's log."""
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if _SERVER.match(line) or _TRACEBACK in line]
