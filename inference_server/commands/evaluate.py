# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi evaluate`."""

import argparse
import asyncio
import sys
from pathlib import Path

from inference_server.commands.command import Commands
from inference_server.evaluation.errors import ScenarioError
from inference_server.evaluation.judge import RulesJudge
from inference_server.evaluation.loading import load_scenarios
from inference_server.evaluation.measures import Report, report
from inference_server.evaluation.outcome import Evaluator
from inference_server.evaluation.player import Player
from inference_server.evaluation.reports.data import as_json
from inference_server.evaluation.reports.page import as_page
from inference_server.evaluation.reports.text import as_text
from inference_server.evaluation.split import Split, held_out
from inference_server.risk.weights import load_weights
from inference_server.settings import Settings


def register(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("evaluate", help="play labelled scenarios and measure how well they are judged")
    parser.add_argument("path", type=Path, metavar="PATH", help="a file or folder of scenarios (docs/evaluation.md)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="other weights than risk.weights_file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report for programs")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report for a browser, with plots")
    parser.add_argument("--only", metavar="TAG", help="only the scenarios with this tag")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--training", dest="split", action="store_const", const=Split.TRAINING, help="four fifths")
    part.add_argument("--held-out", dest="split", action="store_const", const=Split.HELD_OUT, help="the other fifth")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    parser.set_defaults(command=_evaluate)


async def _evaluate(options: argparse.Namespace, settings: Settings) -> int:
    found = await _report(options, settings)
    if options.json:
        await asyncio.to_thread(options.json.write_text, as_json(found), "utf-8")
    if options.html:
        await asyncio.to_thread(options.html.write_text, as_page(found, settings.risk.thresholds), "utf-8")
    print(as_text(found))
    failures = found.failures()
    for failure in failures if options.check else ():
        print(failure, file=sys.stderr)
    return 1 if options.check and failures else 0


async def _report(options: argparse.Namespace, settings: Settings) -> Report:
    weights = load_weights(options.weights or settings.risk.weights_file)
    scenarios = await asyncio.to_thread(load_scenarios, options.path)
    evaluator = Evaluator(Player(settings), RulesJudge(weights), settings.risk.thresholds)
    apart = held_out(scenarios)
    wanted = [
        scenario
        for scenario in scenarios
        if options.split is None or (scenario.id in apart) == (options.split is Split.HELD_OUT)
    ]
    outcomes = await evaluator.evaluate(wanted, apart)
    if options.only:
        outcomes = tuple(one for one in outcomes if options.only in one.tags)
    if not outcomes:
        raise ScenarioError(f'No scenario of {options.path} has the tag "{options.only}".')
    return report("rules", outcomes)
