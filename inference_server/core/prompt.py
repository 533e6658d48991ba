# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prompts as they are stored: what the language model is told, in versions of which one of each kind is active."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PromptKind(StrEnum):
    """What a prompt asks for."""

    ANALYST = "analyst"
    """The second opinion on one event."""
    SUMMARY = "summary"
    """What happened in an hour or a day."""


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """One version of a prompt. Versions are never changed: a changed text is another version."""

    kind: PromptKind
    number: int
    """Counts up from 1 within its kind."""
    name: str
    text: str
    """What `risk/prompts/text.py` reads."""
    note: str
    """Why it was made, in its author's words."""
    created_at: datetime
    created_by: str | None
    """The name of the token that brought it; None for a shipped one, and for the command line."""
    shipped: bool
    """Whether it came with the product."""
    active: bool
    activated_at: datetime | None
    """When it was made the active one last; None for one that never was."""
