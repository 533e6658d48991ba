# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each look is bounded in time and fails alone."""

import threading
from collections.abc import Iterable

import pytest

from inference_server.core.diagnosis import Finding, FindingState, ok, problem, warning
from inference_server.doctor.check import Check, apart, blocking, examine
from tests.support.home import START, MovableClock


async def test_what_crashes_or_hangs_hides_nothing_else() -> None:
    hung = threading.Event()

    def crash() -> Iterable[Finding]:
        raise ZeroDivisionError("of the check")

    def hang() -> Iterable[Finding]:
        hung.wait()
        return ()

    checks = (
        blocking("crash", crash),
        blocking("hang", hang, 0.05),
        blocking("well", lambda: (ok("well", "all is"),)),
    )
    diagnosis = await examine(checks, MovableClock())
    hung.set()
    assert [(finding.subject, finding.state) for finding in diagnosis.findings] == [
        ("crash", FindingState.WARNING),
        ("hang", FindingState.WARNING),
        ("well", FindingState.OK),
    ]
    assert "ZeroDivisionError: of the check" in diagnosis.findings[0].found
    assert "longer than 0 s" in diagnosis.findings[1].found
    assert (diagnosis.at, diagnosis.state) == (START, FindingState.WARNING)


async def test_the_worst_state_counts() -> None:
    async def look() -> Iterable[Finding]:
        return ok("a", "fine"), problem("b", "broken", "mend it"), warning("c", "so so", "look")

    assert (await examine((Check("x", look),), MovableClock())).state is FindingState.PROBLEM
    assert (await examine((), MovableClock())).state is FindingState.OK


async def test_blocking_work_gives_what_it_makes_and_raises() -> None:
    assert await apart(lambda: threading.current_thread().daemon)
    with pytest.raises(ZeroDivisionError):
        await apart(lambda: 1 // 0)
