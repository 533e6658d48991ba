# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/prompts.md shows what is really sent, and all that a prompt may be made of."""

import re
from datetime import UTC, timedelta
from pathlib import Path

from inference_server.core.context import CameraPlace, HomeContext, Mode
from inference_server.core.detection import Category
from inference_server.core.observation import Observation, Observed
from inference_server.core.prompt import PromptKind
from inference_server.risk.evidence import Evidence, Expectation, SeenElsewhere, Subject
from inference_server.risk.prompts.case import Case
from inference_server.risk.prompts.parts import PARTS
from inference_server.risk.prompts.rendering import render
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.risk.prompts.text import read_prompt
from inference_server.risk.rules import assess
from inference_server.risk.weights import shipped_weights
from inference_server.settings import RiskSettings
from tests.support.cases import BEGAN, NOW, a_track
from tests.support.home import MovableClock

PAGE = (Path(__file__).parents[4] / "docs" / "prompts.md").read_text()


def test_the_example_is_what_is_sent() -> None:
    evidence = Evidence(
        subjects=(Subject(a_track("Porch"), (Observation(Observed.TRYING_DOOR, 0.8),)),),
        now=NOW,
        night=True,
        place=CameraPlace.ENTRANCE,
        context=HomeContext(NOW, Mode.AWAY, 0, sun_is_up=False),
        expectations=(Expectation(Category.PERSON, 0.2, 1, 0.08, 6),),
        elsewhere=(SeenElsewhere("Driveway", Category.PERSON, timedelta(seconds=41), further_out=True),),
    )
    case = Case(
        camera="Front door",
        evidence=evidence,
        assessment=assess(evidence, shipped_weights(), MovableClock(NOW.astimezone(UTC))),
        started_at=BEGAN,
        is_open=True,
        pictures=9,
    )
    prompt = read_prompt(PromptKind.ANALYST, newest_shipped(PromptKind.ANALYST).text)
    rendered = render(case, prompt, RiskSettings().prompt_tokens)
    (example,) = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)
    assert example == rendered.prompt


def test_every_section_and_variable_is_explained() -> None:
    for parts in PARTS.values():
        for name in parts.sections:
            assert f"| `{name}`" in PAGE
        for name in (*parts.prefix_variables, *parts.task_variables):
            assert f"`{{{name}}}`" in PAGE
