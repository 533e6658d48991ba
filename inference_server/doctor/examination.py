# SPDX-License-Identifier: AGPL-3.0-or-later
"""Puts the checks together: all that is looked at, in the order in which it is told."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from inference_server.core.clock import Clock
from inference_server.core.diagnosis import Diagnosis, Finding
from inference_server.detection.detector import Detector
from inference_server.doctor import analyst, database, detector, extras, folders, machine, network, ports, watch_roots
from inference_server.doctor.check import Check, apart, blocking, examine
from inference_server.hardware.gpu_choice import with_chosen_gpu
from inference_server.hardware.nvml import Nvml, OpenGpus
from inference_server.hardware.probe import Hardware, probe
from inference_server.hardware.tiers import choose
from inference_server.settings import Settings

SLOW_SECONDS = 30.0
"""For what loads a model, or wakes a GPU up."""


def nobody() -> None:
    """Say that no detector runs in this process."""


async def diagnose(
    settings: Settings,
    clock: Clock,
    *,
    running: Callable[[], Detector | None] = nobody,
    open_gpus: OpenGpus = Nvml,
    addresses: tuple[str, ...] | None = None,
) -> Diagnosis:
    """Examine the installation that the settings describe. It changes nothing.

    It takes half a minute at most, and 90 s with a language model.
    `addresses` are asked instead of the hosts that models come from.
    """

    def looked() -> Hardware:
        return with_chosen_gpu(probe(open_gpus), settings.hardware.gpu, os.environ)

    def of_the_machine(hardware: Hardware) -> Iterator[Finding]:
        yield machine.processor(hardware)
        yield machine.memory(hardware)
        yield from machine.gpu(hardware)
        yield machine.runtime(hardware)
        yield machine.tier(hardware, settings)

    def tried_detector() -> Iterator[Finding]:
        chosen = choose(looked(), settings.hardware.tier)
        return detector.look(settings, chosen.tier, running)

    async def tried_analyst() -> Iterator[Finding]:
        return await analyst.look(settings, await apart(looked))

    checks = (
        blocking("python", machine.python),
        blocking("hardware", lambda: of_the_machine(looked()), SLOW_SECONDS),
        blocking("disk", lambda: folders.disks(settings)),
        blocking("permissions", lambda: folders.permissions(settings)),
        _database(settings),
        Check("redis", lambda: database.redis(settings)),
        blocking("watch folder", lambda: watch_roots.look(settings)),
        Check("ports", lambda: ports.look(settings)),
        blocking("extras", lambda: extras.look(settings)),
        Check("sources", lambda: network.look(settings, clock, addresses)),
        blocking("detector", tried_detector, SLOW_SECONDS),
        Check("detector", lambda: detector.elsewhere(settings), SLOW_SECONDS),
        Check("analyst", tried_analyst, analyst.SECONDS),
    )
    return await examine(checks, clock)


def _database(settings: Settings) -> Check:
    where = settings.database
    if isinstance(where, Path):
        return blocking("database", lambda: database.sqlite(where))
    return Check("database", lambda: database.postgresql(settings))
