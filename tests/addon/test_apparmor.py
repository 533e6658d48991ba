# SPDX-License-Identifier: AGPL-3.0-or-later
"""The AppArmor profile: the Supervisor can load it, and it grants what the app's folders need."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.addon.files import ADDON, read_config

PROFILE = ADDON / "apparmor.txt"
NAME = re.compile(r"^profile ([^ ]+).*$", re.MULTILINE)
"""The Supervisor's own expression: it must find exactly one name, which it replaces by the installed app's slug."""
PARSER = shutil.which("apparmor_parser", path="/usr/sbin:/sbin")


def test_one_profile_with_the_name_of_the_app() -> None:
    assert NAME.findall(PROFILE.read_text()) == [read_config()["slug"]]


def test_the_folders_of_the_app_may_be_written() -> None:
    folders = {"data", *(entry.partition(":")[0] for entry in read_config()["map"])}
    granted = dict(re.findall(r"^  /(\w+)/\{,\*\*\} (\w+),$", PROFILE.read_text(), re.MULTILINE))
    for folder in folders:
        assert {"r", "w", "k"} <= set(granted[folder]), folder


def test_the_devices_of_the_app_may_be_used_and_no_other_ones() -> None:
    devices = re.findall(r"^  (/dev/dri/renderD\S*) rw,$", PROFILE.read_text(), re.MULTILINE)
    assert devices == ["/dev/dri/renderD*"]
    assert {device.rstrip("0123456789") for device in read_config()["devices"]} == {"/dev/dri/renderD"}
    assert {"full_access", "video", "privileged", "devicetree"} & set(read_config()) == set()


def test_what_is_written_is_never_run_and_what_is_run_is_never_written() -> None:
    rules = re.findall(r"^ +(?:owner )?([/@]\S*) (\w+),$", PROFILE.read_text(), re.MULTILINE)
    assert len(rules) > 10
    assert [path for path, rights in rules if "w" in rights and ({"x", "m"} & set(rights))] == []


def test_no_rule_grants_everything() -> None:
    rules = [line.strip() for line in PROFILE.read_text().splitlines()]
    assert not {"file,", "capability,", "network,", "mount,", "ptrace,", "/** rw,"} & set(rules)


@pytest.mark.skipif(PARSER is None, reason="apparmor_parser is not installed (apt-get install apparmor)")
@pytest.mark.parametrize(("change", "accepted"), [("", True), ("capability everything,", False)])
def test_the_parser_accepts_it(tmp_path: Path, change: str, accepted: bool) -> None:
    assert PARSER is not None
    profile = tmp_path / "profile"
    profile.write_text(PROFILE.read_text().replace("  signal,\n", f"  signal,\n  {change}\n"))
    command = [PARSER, "--skip-kernel-load", "--skip-cache", str(profile)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode == 0) is accepted, result.stderr
