# SPDX-License-Identifier: AGPL-3.0-or-later
"""The plots of the report, as SVG whose colours are CSS variables of the page."""

from collections.abc import Sequence
from html import escape

from inference_server.core.assessment import LevelThresholds, RiskLevel
from inference_server.evaluation.measures import TARGET_MIX, Measures
from inference_server.evaluation.outcome import Outcome

_WIDTH, _LEFT, _TOP = 1100, 92, 12
_PER_POINT = 3.2
"""Pixels of height of a point of the score."""
_CELL, _ROW_HEAD, _COLUMN_HEAD = 64, 72, 40
_BAR, _LONGEST = 26, 420


def scores_plot(outcomes: Sequence[Outcome], thresholds: LevelThresholds) -> str:
    """Return the score of every scenario on its band, sorted by bands."""
    ordered = sorted(outcomes, key=lambda one: (one.band.scores[0], one.band.scores[-1], one.score, one.scenario.id))
    step = (_WIDTH - _LEFT - 10) / max(len(ordered), 1)
    bottom = _TOP + 100 * _PER_POINT
    parts = [_open(_WIDTH, bottom + 24, "Score of every scenario, on the band that is accepted")]
    names = {thresholds.medium: "medium", thresholds.high: "high", thresholds.critical: "critical"}
    parts += [_line(score, names.get(score, "")) for score in (0, *names, 100)]
    parts += [_mark(one, _LEFT + (number + 0.5) * step, min(step * 0.72, 9)) for number, one in enumerate(ordered)]
    parts.append(f'<text x="{_LEFT}" y="{bottom + 18}">scenarios, by their band</text></svg>')
    return "\n".join(parts)


def _open(width: float, height: float, label: str) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">'


def _height(score: float) -> float:
    return _TOP + (100 - score) * _PER_POINT


def _line(score: int, name: str) -> str:
    y = _height(score)
    return (
        f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - 4}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{name} {score}</text>'
    )


def _mark(one: Outcome, x: float, width: float) -> str:
    low, high = one.band.scores[0], one.band.scores[-1] + 1
    top, height = _height(high), (high - low) * _PER_POINT
    hint = f"{one.scenario.id}: {one.score}, expected {low} to {one.band.scores[-1]}. {one.scenario.title}"
    kind = "within" if one.is_within else "outside"
    radius = max(width / 2, 2.4)
    return (
        f"<g><title>{escape(hint)}</title>"
        f'<rect class="band" x="{x - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        f'<circle class="{kind}" cx="{x:.1f}" cy="{_height(one.score):.1f}" r="{radius:.1f}"/></g>'
    )


def confusion_plot(found: Measures) -> str:
    """Return the confusion matrix: rows are what was expected, columns the verdicts."""
    size = _CELL * len(RiskLevel)
    parts = [_open(_ROW_HEAD + size + 4, _COLUMN_HEAD + size + 4, "Confusion of levels: rows expected, columns judged")]
    most = max((number for row in found.confusion.values() for number in row.values()), default=1) or 1
    for row, expected in enumerate(RiskLevel):
        y = _COLUMN_HEAD + row * _CELL
        parts.append(f'<text x="{_ROW_HEAD - 8}" y="{y + _CELL / 2 + 4}" text-anchor="end">{expected}</text>')
        parts.append(f'<text x="{_ROW_HEAD + (row + 0.5) * _CELL}" y="28" text-anchor="middle">{expected}</text>')
        for column, level in enumerate(RiskLevel):
            number = found.confusion[expected][level]
            parts.append(_cell(_ROW_HEAD + column * _CELL, y, number, number / most, right=row == column))
    return "\n".join([*parts, "</svg>"])


def _cell(x: float, y: float, number: int, share: float, *, right: bool) -> str:
    strength = 0.15 + 0.75 * share**0.5 if number else 0.0
    kind = "right" if right else "wrong"
    return (
        f'<rect class="cell" x="{x}" y="{y}" width="{_CELL - 3}" height="{_CELL - 3}"/>'
        f'<rect class="{kind}" x="{x}" y="{y}" width="{_CELL - 3}" height="{_CELL - 3}" fill-opacity="{strength:.2f}"/>'
        f'<text class="number" x="{x + _CELL / 2 - 1}" y="{y + _CELL / 2 + 5}" text-anchor="middle">{number}</text>'
    )


def mix_plot(found: Measures) -> str:
    """Return the shares of the levels beside those that a home should have over the weeks."""
    row = 2 * _BAR + 14
    parts = [_open(_ROW_HEAD + _LONGEST + 60, row * len(RiskLevel) + 8, "Shares of the levels, judged and aimed at")]
    for number, level in enumerate(RiskLevel):
        y = number * row + 4
        share = found.mix[level] / max(found.count, 1)
        parts.append(f'<text x="{_ROW_HEAD - 8}" y="{y + _BAR + 4}" text-anchor="end">{level}</text>')
        parts += [_bar(y, share, level, "judged"), _bar(y + _BAR, TARGET_MIX[level], "aim", "aim")]
    return "\n".join([*parts, "</svg>"])


def _bar(y: float, share: float, kind: str, word: str) -> str:
    length = max(share * _LONGEST, 1)
    return (
        f'<rect class="{kind}" x="{_ROW_HEAD}" y="{y}" width="{length:.1f}" height="{_BAR - 4}" rx="2"/>'
        f'<text class="quiet" x="{_ROW_HEAD + length + 6:.1f}" y="{y + 16}">{share:.0%} {word}</text>'
    )
