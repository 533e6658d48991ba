# SPDX-License-Identifier: AGPL-3.0-or-later
"""The weights of the rules: one documented file, of which the owner's own may override any."""

import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Points = Annotated[int, Field(ge=-100, le=100)]


class WeightsError(Exception):
    """A file of weights cannot be used. `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        """Take what is wrong and what to do."""
        super().__init__(message)
        self.remedy = remedy


class Step(BaseModel):
    """From a value on, so many points."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Annotated[float, Field(alias="from", ge=0, allow_inf_nan=False)]
    points: Points


class Weight(BaseModel):
    """What one factor adds to a score, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: Points | None = None
    each: Points | None = None
    at_most: Points | None = None
    steps: tuple[Step, ...] = ()
    why: Annotated[str, Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _one_kind(self) -> "Weight":
        kinds = (self.points is not None, self.each is not None and self.at_most is not None, bool(self.steps))
        if sum(kinds) != 1 or (self.each is None) != (self.at_most is None):
            raise ValueError("a factor has points, or each and at_most, or steps")
        if any(low.value >= high.value for low, high in pairwise(self.steps)):
            raise ValueError("steps rise")
        return self

    def fixed(self) -> int:
        """Return the points of a factor that is there or not."""
        assert self.points is not None  # noqa: S101 - a test holds that each rule finds its kind of weight
        return self.points

    def counted(self, number: int) -> int:
        """Return the points of so many."""
        assert self.each is not None  # noqa: S101 - as above
        assert self.at_most is not None  # noqa: S101 - as above
        return min(number * self.each, self.at_most)

    def reached(self, value: float) -> int:
        """Return the points of the last step that a value reaches, 0 before the first."""
        return next((step.points for step in reversed(self.steps) if value >= step.value), 0)


class Weights:
    """The weight of every factor, by name."""

    def __init__(self, weights: Mapping[str, Weight]) -> None:
        """Take them."""
        self._weights = dict(weights)

    def __getitem__(self, name: str) -> Weight:
        """Return a factor's weight. Raises KeyError for a name that is no factor's."""
        return self._weights[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All factors, in the file's order."""
        return tuple(self._weights)


def shipped_weights() -> Weights:
    """Return the weights that come with the product."""
    return Weights({name: Weight.model_validate(table) for name, table in _shipped().items()})


def load_weights(overriding: Path | None) -> Weights:
    """Return the weights, those of the owner's file in place of the shipped ones. Raises WeightsError."""
    if overriding is None:
        return shipped_weights()
    tables = _shipped()
    for name, table in _read(overriding).items():
        if name not in tables:
            raise WeightsError(f'{overriding} names the factor "{name}", which there is not', _factors(tables))
        tables[name] = _merged(tables[name], table)
    weights = {}
    for name, table in tables.items():
        try:
            weights[name] = Weight.model_validate(table)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise WeightsError(f"{overriding}: [{name}] {where}: {reason}", _AS_SHIPPED) from error
    return Weights(weights)


def _merged(shipped: Mapping[str, object], own: object) -> dict[str, object]:
    """Return a weight with what its owner changed; a weight of another kind replaces the shipped one's numbers."""
    if not isinstance(own, dict):
        return {"points": own, "why": shipped["why"]}
    numbers = {"points", "each", "at_most", "steps"}
    same_kind = {key for key in own if key in numbers} <= set(shipped)
    kept = {key: value for key, value in shipped.items() if same_kind or key not in numbers}
    return {**kept, **own}


def _shipped() -> dict[str, dict[str, object]]:
    return tomllib.loads(Path(__file__).with_name("weights.toml").read_text("utf-8"))


_AS_SHIPPED = "Take inference_server/risk/weights.toml as an example."


def _factors(tables: Mapping[str, object]) -> str:
    return f"Use one of {', '.join(tables)}."


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeightsError(f"{path} cannot be read ({reason})", "Correct risk.weights_file, or remove it.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is no TOML file ({error})", _AS_SHIPPED) from error
