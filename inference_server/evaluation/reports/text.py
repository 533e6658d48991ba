# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report for a terminal."""

from collections.abc import Iterator, Sequence

from inference_server.core.assessment import RiskLevel
from inference_server.evaluation.measures import TARGET_MIX, Measures, Report
from inference_server.evaluation.outcome import Outcome

MOST_WORST = 20


def as_text(found: Report) -> str:
    """Return the report as lines of text."""
    return "\n".join(_lines(found))


def _lines(found: Report) -> Iterator[str]:
    yield f"{found.total.count} scenarios, judged by the {found.judge}"
    yield ""
    yield from _table([("all", found.total), *((str(name), part) for name, part in found.splits.items())])
    yield ""
    yield from _confusion(found.total)
    yield ""
    yield f"{'level':10} {'share':>6} {'aim':>6}"
    for level in RiskLevel:
        yield f"{level:10} {found.total.mix[level] / found.total.count:6.0%} {TARGET_MIX[level]:6.0%}"
    yield ""
    yield from _table(sorted(found.tags.items(), key=lambda item: -item[1].count))
    if found.worst:
        yield ""
        yield "Farthest from what was expected:"
        for one in found.worst[:MOST_WORST]:
            yield from _worst(one)
        if len(found.worst) > MOST_WORST:
            yield f"  and {len(found.worst) - MOST_WORST} more (--json, --html)"


def _table(rows: Sequence[tuple[str, Measures]]) -> Iterator[str]:
    yield (
        f"{'':18} {'count':>6} {'in band':>8} {'recall':>7} {'precision':>10} {'alerts':>7} {'wrong':>6} "
        f"{'missed':>7} {'error':>6} {'violations':>11}"
    )
    for name, one in rows:
        alerts = one.caught + one.false_alerts + one.either
        yield (
            f"{name:18.18} {one.count:6} {one.within / one.count:8.1%} {share(one.recall):>7} "
            f"{share(one.precision):>10} {alerts:7} {one.false_alerts:6} {one.must_alert - one.caught:7} "
            f"{one.mean_error:6.1f} {one.violations:11}"
        )


def share(value: float | None) -> str:
    """Return a share with two digits, "-" for none."""
    return "-" if value is None else f"{value:.2f}"


def _confusion(found: Measures) -> Iterator[str]:
    yield f"{'expected / judged':18}" + "".join(f" {level:>9}" for level in RiskLevel)
    for expected in RiskLevel:
        yield f"{expected:18}" + "".join(f" {found.confusion[expected][level]:9}" for level in RiskLevel)


def _worst(one: Outcome) -> Iterator[str]:
    band = f"{one.band.scores[0]}-{one.band.scores[-1]}"
    yield f"  {one.scenario.id}: {one.score} ({one.level}), expected {band}. {one.scenario.title}"
    yield "      " + (", ".join(f"{factor.name} {factor.points:+d}" for factor in one.factors) or "no event")
    for violation in one.violations:
        yield f"      {violation}"
