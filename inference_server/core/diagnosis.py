# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an examination of the installation found."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class FindingState(StrEnum):
    """How bad a finding is, the best first."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found and, unless it is well, what to do."""

    subject: str
    state: FindingState
    found: str
    remedy: str | None = None


def ok(subject: str, found: str) -> Finding:
    """Return that something is well."""
    return Finding(subject, FindingState.OK, found)


def warning(subject: str, found: str, remedy: str) -> Finding:
    """Return something that works, and could be better or will not work for long."""
    return Finding(subject, FindingState.WARNING, found, remedy)


def problem(subject: str, found: str, remedy: str) -> Finding:
    """Return something that does not work."""
    return Finding(subject, FindingState.PROBLEM, found, remedy)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings of one examination, and how many seconds it took."""

    at: datetime
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def state(self) -> FindingState:
        """The worst state of any finding."""
        order = list(FindingState)
        return max((finding.state for finding in self.findings), key=order.index, default=FindingState.OK)
