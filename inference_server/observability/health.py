# SPDX-License-Identifier: AGPL-3.0-or-later
"""The health board: every part reports its state here, and operators read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from inference_server.core.clock import Clock


class HealthState(StrEnum):
    """The three states, best first."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


type Detail = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """One part's state: since when, what went wrong last, what still works and what to do."""

    name: str
    state: HealthState
    since: datetime
    last_error: str | None = None
    still_works: str | None = None
    remedy: str | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)


class HealthBoard:
    """Holds the newest report of every component."""

    def __init__(self, clock: Clock) -> None:
        """Start with no component."""
        self._clock = clock
        self._components: dict[str, ComponentHealth] = {}

    def report(
        self,
        name: str,
        state: HealthState,
        *,
        last_error: str | None = None,
        still_works: str | None = None,
        remedy: str | None = None,
        **details: Detail,
    ) -> None:
        """Replace a component's report; `since` moves only when the state changes."""
        known = self._components.get(name)
        since = known.since if known and known.state is state else self._clock.now()
        self._components[name] = ComponentHealth(name, state, since, last_error, still_works, remedy, details)

    @property
    def components(self) -> tuple[ComponentHealth, ...]:
        """The reports, by name."""
        return tuple(self._components[name] for name in sorted(self._components))

    @property
    def state(self) -> HealthState:
        """The worst state of any component."""
        order = list(HealthState)
        return max((component.state for component in self.components), key=order.index, default=HealthState.OK)
