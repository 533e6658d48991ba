# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi evaluate`."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from inference_server.commands.command import Commands
from inference_server.core.prompt import PromptKind
from inference_server.evaluation.analyst_judge import AnalystJudge
from inference_server.evaluation.errors import ScenarioError
from inference_server.evaluation.judge import Judge, RulesJudge
from inference_server.evaluation.measures import Report, report
from inference_server.evaluation.outcome import Evaluator
from inference_server.evaluation.player import Player
from inference_server.evaluation.reports.data import as_json
from inference_server.evaluation.reports.page import as_page
from inference_server.evaluation.reports.text import as_text
from inference_server.evaluation.scenario import Scenario
from inference_server.evaluation.split import Split, held_out
from inference_server.hardware.processor import look
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ModelStore
from inference_server.risk.analyst.language_model import ModelError
from inference_server.risk.analyst.opening import NoModel, choose_model, open_model
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.risk.prompts.text import read_prompt
from inference_server.risk.weights import Weights, load_weights
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
    parser.add_argument(
        "--judge", choices=("rules", "analyst"), default="rules", help="who judges: the rules alone, or the analyst too"
    )
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
    async with _judge(options.judge, weights, settings) as judge:
        return await _report_of(options, settings, judge)


@asynccontextmanager
async def _judge(name: str, weights: Weights, settings: Settings) -> AsyncIterator[Judge]:
    """Give whoever judges. Raises ModelUnavailable where there is no language model that could."""
    if name == RulesJudge.name:
        yield RulesJudge(weights)
        return
    store = ModelStore(settings.models_folder, offline=settings.models.offline_folder)
    chosen = await asyncio.to_thread(choose_model, settings.analyst, store, None)
    if isinstance(chosen, NoModel):
        raise ModelUnavailable(chosen.reason, chosen.remedy)
    model = open_model(chosen, settings.analyst, look().cores)
    prompt = read_prompt(PromptKind.ANALYST, newest_shipped(PromptKind.ANALYST).text)
    try:
        await model.load()
        yield AnalystJudge(model, prompt, weights, settings)
    except ModelError as error:
        raise ModelUnavailable(str(error), error.remedy) from error
    finally:
        await model.close()


async def _report_of(options: argparse.Namespace, settings: Settings, judge: Judge) -> Report:
    scenarios = await asyncio.to_thread(_load, options.path)
    evaluator = Evaluator(Player(settings), judge, settings.risk.thresholds)
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
    return report(judge.name, outcomes)


def _load(path: Path) -> tuple[Scenario, ...]:
    """Return the scenarios below a path. Raises ScenarioError."""
    try:
        from inference_server.evaluation.loading import load_scenarios  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ScenarioError("Scenarios need the extra evaluate (uv tool install '.[evaluate]')") from error
    return load_scenarios(path)
