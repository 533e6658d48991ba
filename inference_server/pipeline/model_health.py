# SPDX-License-Identifier: AGPL-3.0-or-later
"""What health says of models: which could not be installed or used, why, and what to do."""

from inference_server.core.model import ModelUnavailable, Pull
from inference_server.models.jobs import ModelJobs
from inference_server.observability.health import HealthBoard, HealthState

COMPONENT = "models"
LOOK_SECONDS = 10.0
"""How soon it is noticed that another process has installed a model whose pull failed here."""


class ModelHealth:
    """Reports pulls that failed, until their models are installed or somebody dismisses them."""

    def __init__(self, jobs: ModelJobs, health: HealthBoard) -> None:
        """Take the pulls, and where to report."""
        self._jobs = jobs
        self._health = health
        self._unusable: tuple[str, ModelUnavailable] | None = None

    async def run(self) -> None:
        """Report each change until cancelled."""
        while True:
            seen = self._jobs.changed.count
            failed = await self._jobs.failed()
            self._report(failed)
            await self._jobs.changed.wait(seen, LOOK_SECONDS if failed else None)

    def cannot_use(self, model_id: str, error: ModelUnavailable) -> None:
        """Say that a model is installed and cannot be used."""
        self._unusable = model_id, error
        self._jobs.changed.notify()

    def all_used(self) -> None:
        """Say that no installed model is found wanting any more."""
        if self._unusable is not None:
            self._unusable = None
            self._jobs.changed.notify()

    def _report(self, failed: tuple[Pull, ...]) -> None:
        reasons = [(pull.model_id, pull.error or "it failed", pull.remedy) for pull in failed]
        if self._unusable is not None:
            model_id, error = self._unusable
            reasons.append((model_id, str(error), error.remedy))
        if not reasons:
            self._health.report(COMPONENT, HealthState.OK, failed=None)
            return
        self._health.report(
            COMPONENT,
            HealthState.DEGRADED,
            last_error=" ".join(f"{reason.rstrip('.')}." for _, reason, _ in reasons),
            still_works="Everything that needs none of these models.",
            remedy=" ".join(dict.fromkeys(remedy for _, _, remedy in reasons if remedy)) or None,
            failed=", ".join(model_id for model_id, _, _ in reasons),
        )
