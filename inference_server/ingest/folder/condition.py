# SPDX-License-Identifier: AGPL-3.0-or-later
"""What health says about a watch root."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference_server.observability.health import Detail, HealthBoard, HealthState

_LOGGER = logging.getLogger(__name__)

PROBLEMS_SHOWN = 5
_ORDER = list(HealthState)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is not as it should be, what still works, and what to do."""

    state: HealthState
    error: str
    still_works: str
    remedy: str


class RootHealth:
    """A watch root's line in health: the worst of its conditions, each noted and cleared by who knows about it."""

    def __init__(self, board: HealthBoard, component: str, **details: Detail) -> None:
        """Take the board and the component's name; nothing is reported yet."""
        self._board = board
        self._component = component
        self._details: dict[str, Any] = details
        self._conditions: dict[str, Condition] = {}

    def note(self, cause: str, condition: Condition | None) -> None:
        """Take note of a condition, or that its cause is over."""
        if condition is None:
            self._conditions.pop(cause, None)
        else:
            if condition != self._conditions.get(cause):
                _LOGGER.warning("%s: %s %s", self._component, condition.error, condition.remedy)
            self._conditions[cause] = condition
        self.report()

    def note_problems(self, cause: str, problems: Sequence[str]) -> None:
        """Take note of what keeps single folders from being watched as they should be."""
        condition = Condition(
            HealthState.DEGRADED,
            "; ".join(problems[:PROBLEMS_SHOWN]),
            "All other files are admitted.",
            "Put right what is named; the next scan notices it.",
        )
        self.note(cause, condition if problems else None)

    def tell(self, **details: Detail) -> None:
        """Replace details; None takes one away."""
        merged = self._details | details
        self._details = {name: value for name, value in merged.items() if value is not None}
        self.report()

    def clear(self) -> None:
        """Forget all conditions: the root is watched anew."""
        self._conditions.clear()

    def report(self) -> None:
        """Report the worst condition, or that all is well."""
        if not self._conditions:
            self._board.report(self._component, HealthState.OK, **self._details)
            return
        worst = max(self._conditions.values(), key=lambda condition: _ORDER.index(condition.state))
        self._board.report(
            self._component,
            worst.state,
            last_error=worst.error,
            still_works=worst.still_works,
            remedy=worst.remedy,
            **self._details,
        )
