# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/prompts.md shows what is really sent, and all that a prompt may be made of."""

import re
from datetime import timedelta
from pathlib import Path

from inference_server.core.assessment import Assessment, AssessmentSource, Factor, total_score
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
from inference_server.settings import RiskSettings
from tests.support.cases import BEGAN, NOW, a_track

FACTORS = (
    Factor("person_seen", 20, "a person, confidence 0.91"),
    Factor("person_at_night", 15, "it is night (22:14)"),
    Factor("in_entry", 5, 'in "Porch"'),
    Factor("line_crossed", 5, 'came in over the line of "Porch"'),
    Factor("lingering", 8, "in view for 52 s"),
    Factor("loitering_in_zone", 10, '31 s in "Porch"'),
    Factor("nobody_home", 12, "nobody of the household is at home"),
    Factor("trying_door", 45, "trying door, confidence 0.80"),
    Factor("came_closer", 8, 'on "Driveway" 41 s before'),
)
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
        assessment=Assessment(total_score(FACTORS), "", "", FACTORS, AssessmentSource.RULES, False, NOW),
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
