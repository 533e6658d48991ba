# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/risk.md shows the weights as they are shipped."""

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from inference_server.risk.rules import FACTOR_NAMES
from inference_server.risk.weights import Weight, shipped_weights

PAGE = Path(__file__).parents[3] / "docs" / "risk.md"


def table() -> list[str]:
    """Return the rows of the page's table of factors, in the order of the file."""
    weights = shipped_weights()
    return [f"| `{name}` | {_points(weights[name])} | {weights[name].why} |" for name in weights.names]


def _points(weight: Weight) -> str:
    if weight.steps:
        return ", ".join(f"{step.points:+d} from {step.value:g}" for step in weight.steps)
    if weight.each is not None:
        return f"{weight.each:+d} each, at most {weight.at_most:+d}"
    return f"{weight.fixed():+d}"


def _rows() -> Iterator[str]:
    for line in PAGE.read_text("utf-8").splitlines():
        name = line.split("`")[1] if line.startswith("| `") else ""
        if name in FACTOR_NAMES:
            yield line


def test_the_page_shows_every_factor_as_it_weighs() -> None:
    assert list(_rows()) == table()


def test_every_weight_says_why() -> None:
    shipped = tomllib.loads(files("inference_server.risk").joinpath("weights.toml").read_text("utf-8"))
    assert all(len(own["why"]) > 5 for own in shipped.values())
