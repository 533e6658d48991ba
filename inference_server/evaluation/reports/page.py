# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report for a browser: one page that needs nothing from elsewhere, light and dark."""

from collections.abc import Iterable, Sequence
from html import escape

from inference_server.core.assessment import LevelThresholds
from inference_server.evaluation.measures import Measures, Report
from inference_server.evaluation.outcome import Outcome
from inference_server.evaluation.reports.plots import confusion_plot, mix_plot, scores_plot
from inference_server.evaluation.reports.text import share

_STYLE = """
:root { color-scheme: light dark; --page: #fafafa; --card: #fff; --text: #1c1f23; --quiet: #5c6570; --rule: #d9dde2;
  --band: #c9d6e6; --good: #1b7f4b; --bad: #c62828; --low: #2e7d32; --medium: #b58900; --high: #d9630c;
  --critical: #c62828; --aim: #9aa5b1; }
@media (prefers-color-scheme: dark) { :root { --page: #121416; --card: #1c1f22; --text: #e8eaed; --quiet: #a3abb5;
  --rule: #3a4048; --band: #35465c; --good: #5fd39a; --bad: #ff8a80; --low: #6fcf7a; --medium: #e6c229;
  --high: #ffa24d; --critical: #ff8a80; --aim: #6b7580; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 16px 64px; max-width: 1180px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 4px; } h2 { font-size: 1.1rem; margin: 28px 0 8px; }
p { color: var(--quiet); margin: 4px 0 12px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 14px; overflow-x: auto; }
.wide svg { min-width: 700px; }
.pair { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px 5px 0; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--quiet); font-weight: 600; } .n { text-align: right; }
.bad-text { color: var(--bad); font-weight: 600; } .good-text { color: var(--good); font-weight: 600; }
.quiet-text { color: var(--quiet); font-size: 0.9em; } summary { cursor: pointer; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: var(--text); }
svg .quiet { fill: var(--quiet); } svg .number { font-size: 16px; font-weight: 600;
  paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
.rule { stroke: var(--rule); } .band { fill: var(--band); }
.within { fill: var(--good); } .outside { fill: var(--bad); }
.cell { fill: none; stroke: var(--rule); } .right { fill: var(--good); } .wrong { fill: var(--bad); }
.low { fill: var(--low); } .medium { fill: var(--medium); } .high { fill: var(--high); }
.critical { fill: var(--critical); } .aim { fill: var(--aim); }
"""
_COLUMNS = ("", "scenarios", "in band", "recall", "precision", "false alerts", "missed", "mean error", "violations")


def as_page(found: Report, thresholds: LevelThresholds) -> str:
    """Return the report as an HTML document."""
    parts = [("all", found.total), *((str(name), part) for name, part in found.splits.items())]
    by_count = sorted(found.tags.items(), key=lambda item: -item[1].count)
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation of the {escape(found.judge)}</title><style>{_STYLE}</style></head>
<body>
<h1>Evaluation of the {escape(found.judge)}</h1>
<p>{found.total.count} scenarios. An alert is a verdict of high or critical. {_verdict(found.failures())}</p>
<div class="card">{_table(parts)}</div>
<h2>Scores</h2>
<p>Each bar is the band that an expert accepts, the dot the score: green within, red outside.</p>
<div class="card wide">{scores_plot(found.outcomes, thresholds)}</div>
<div class="pair">
<div><h2>Confusion of levels</h2><p>Rows: the accepted level that is nearest. Columns: the verdict.</p>
<div class="card">{confusion_plot(found.total)}</div></div>
<div><h2>Mix of levels</h2><p>Beside the mix that the events of a home should have over the weeks.</p>
<div class="card">{mix_plot(found.total)}</div></div>
</div>
<h2>Farthest from what was expected</h2>
<div class="card">{_cases(found.worst) if found.worst else "Every scenario is within its band."}</div>
<h2>By tag</h2>
<div class="card">{_table(by_count)}</div>
<h2>All scenarios</h2>
<div class="card"><details><summary>Show {len(found.outcomes)}</summary>{_cases(found.outcomes)}</details></div>
</body>
</html>
"""


def _verdict(failures: Sequence[str]) -> str:
    if failures:
        return "".join(f'<br><span class="bad-text">{escape(failure)}</span>' for failure in failures)
    return '<span class="good-text">Every bar is met.</span>'


def _table(rows: Iterable[tuple[str, Measures]]) -> str:
    head = "".join(f'<th class="{"n" if column else ""}">{column}</th>' for column in _COLUMNS)
    return f"<table><tr>{head}</tr>{''.join(_row(name, one) for name, one in rows)}</table>"


def _row(name: str, one: Measures) -> str:
    cells = (
        f"{one.count}",
        f"{one.within / one.count:.1%}",
        share(one.recall),
        share(one.precision),
        f"{one.false_alerts}",
        f"{one.must_alert - one.caught}",
        f"{one.mean_error:.1f}",
        f"{one.violations}",
    )
    return f"<tr><td>{escape(name)}</td>{''.join(f'<td class="n">{cell}</td>' for cell in cells)}</tr>"


def _cases(outcomes: Iterable[Outcome]) -> str:
    head = '<th>scenario</th><th class="n">score</th><th class="n">expected</th><th>factors</th>'
    return f"<table><tr>{head}</tr>{''.join(map(_case, outcomes))}</table>"


def _case(one: Outcome) -> str:
    factors = ", ".join(f"{factor.name} {factor.points:+d}" for factor in one.factors) or "no event"
    wrong = "".join(f'<br><span class="bad-text">{escape(problem)}</span>' for problem in one.violations)
    colour = "good-text" if one.is_within else "bad-text"
    held = ", held-out" if one.held_out else ""
    return (
        f'<tr><td>{escape(one.scenario.title)}<br><span class="quiet-text">{escape(one.scenario.id)}{held}</span></td>'
        f'<td class="n {colour}">{one.score}</td><td class="n">{one.band.scores[0]}-{one.band.scores[-1]}</td>'
        f'<td class="quiet-text">{escape(factors)}{wrong}</td></tr>'
    )
