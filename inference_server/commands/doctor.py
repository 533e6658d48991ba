# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi doctor`."""

import argparse
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from inference_server.commands.command import Commands
from inference_server.core.clock import SystemClock
from inference_server.core.diagnosis import Diagnosis, Finding, FindingState
from inference_server.doctor.examination import diagnose
from inference_server.settings import Settings

PACKAGE = "inference_server"
MARKS = {FindingState.OK: "ok", FindingState.WARNING: "warning", FindingState.PROBLEM: "PROBLEM"}


def register(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("doctor", help="examine this installation: what is well, what is not, what to do")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=_doctor)


async def _doctor(options: argparse.Namespace, settings: Settings) -> int:
    with _quiet():
        diagnosis = await diagnose(settings, SystemClock())
    if options.json:
        print(_as_json(diagnosis))
    else:
        for finding in diagnosis.findings:
            _print(finding)
        counts = [sum(finding.state is state for finding in diagnosis.findings) for state in FindingState]
        told = f"{counts[0]} well, {_counted(counts[1], 'warning')}, {_counted(counts[2], 'problem')}"
        print(f"{told}, in {diagnosis.seconds:.1f} s")
    return 1 if diagnosis.state is FindingState.PROBLEM else 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings from the log: they are among the findings."""
    logger = logging.getLogger(PACKAGE)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _print(finding: Finding) -> None:
    print(f"{MARKS[finding.state]:8} {finding.subject:13} {_printable(finding.found)}")
    if finding.remedy:
        print(f"{'':22} {_printable(finding.remedy)}")


def _printable(text: str) -> str:
    """Return a text whose names of files do nothing to a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _as_json(diagnosis: Diagnosis) -> str:
    return json.dumps({"state": diagnosis.state, **asdict(diagnosis), "at": diagnosis.at.isoformat()}, indent=2)
