# SPDX-License-Identifier: AGPL-3.0-or-later
"""Scenarios for the tests, as their authors write them."""

from pathlib import Path

from inference_server.evaluation.loading import load_scenarios
from inference_server.evaluation.player import PlayedEvent, Player
from inference_server.evaluation.scenario import Scenario
from inference_server.settings import Settings

ROOT = Path(__file__).parents[3]
SCENARIOS = ROOT / "tests" / "scenarios"

HOME = """
home:
  time_zone: Europe/Berlin
  cameras:
    drive:
      place: driveway
      leads_to: [door]
      zones:
        - {name: Pavement, type: sidewalk, rectangle: [0, 0.3, 1, 0.45]}
        - {name: Drive, type: driveway, rectangle: [0, 0.46, 0.7, 1], loitering_seconds: 60}
        - {name: Hedge, type: ignore, rectangle: [0.75, 0.46, 1, 1]}
      spots:
        left: [0.05, 0.4, 0.25]
        right: [0.95, 0.4, 0.25]
        car: [0.3, 0.7, 0.4]
        hedge: [0.9, 0.7, 0.4]
    door:
      place: entrance
      spots: {steps: [0.5, 0.5, 0.4], door: [0.5, 0.85, 0.6]}
"""
HEAD = f"id: test-scenario\ntitle: A test\ntags: [ordinary]\n{HOME}"
TAIL = "expect: {level: [low, critical]}\n"
WALK = """happenings:
  - camera: drive
    starts_at: 2026-05-05 12:00:00
    objects: [{path: "0 left, 8 right"}]
"""


def written(folder: Path, text: str, name: str = "scenario.yaml") -> Path:
    """Write a file of scenarios and return it."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def scenario(folder: Path, body: str, head: str = HEAD) -> Scenario:
    """Return the scenario of a body: what happens, and what surrounds it."""
    expect = "" if "\nexpect:" in f"\n{body}" else TAIL
    return load_scenarios(written(folder, f"{head}{body}{expect}"))[0]


def played(folder: Path, body: str) -> tuple[PlayedEvent, ...]:
    """Return the events of a scenario by the settings as they come."""
    return Player(Settings()).play(scenario(folder, body))
