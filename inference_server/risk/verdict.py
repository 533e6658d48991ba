# SPDX-License-Identifier: AGPL-3.0-or-later
"""The analyst's answer, and the JSON schema that it is held to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from inference_server.core.assessment import MAX_SCORE
from inference_server.risk.analyst.schema import JsonSchema

MOST_CLAIMS = 6
REASONING_LENGTH = 600
SUMMARY_LENGTH = 200


class Claim(BaseModel):
    """A reason: a factor, and the id of the line of evidence that it rests on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    evidence: str


class Verdict(BaseModel):
    """What the analyst says of an event. The reasons come first, so that the score follows from them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reasoning: Annotated[str, Field(max_length=REASONING_LENGTH)]
    factors: Annotated[tuple[Claim, ...], Field(max_length=MOST_CLAIMS)]
    score: Annotated[int, Field(ge=0, le=MAX_SCORE)]
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    summary: Annotated[str, Field(max_length=SUMMARY_LENGTH)]


class Direction(Enum):
    """Which way a factor of the analyst's own may move a score."""

    DOWN = -1
    UP = 1


@dataclass(frozen=True, slots=True)
class OwnFactor:
    """A factor that the analyst may add to those of the rules, and the letters of the evidence that it may rest on."""

    direction: Direction
    letters: str


OWN_FACTORS: Mapping[str, OwnFactor] = {
    "ordinary_visit": OwnFactor(Direction.DOWN, "TZWHB"),
    "delivery_likely": OwnFactor(Direction.DOWN, "OT"),
    "resident_likely": OwnFactor(Direction.DOWN, "IHB"),
    "passing_by": OwnFactor(Direction.DOWN, "TZCX"),
    "suspicious_pattern": OwnFactor(Direction.UP, "TZOSXV"),
    "unexpected_here": OwnFactor(Direction.UP, "ZWHBC"),
}
"""By name."""

_CONFIDENCES = [tenth / 10 for tenth in range(11)]


def verdict_schema(factors: Iterable[str], evidence_ids: Iterable[str]) -> JsonSchema:
    """Return the schema of a verdict on an event that has these factors of the rules and these lines of evidence.

    Names and ids are closed lists, so that the grammar lets no other be said.
    """
    schema = Verdict.model_json_schema()
    claim = schema["$defs"][Claim.__name__]["properties"]
    claim["name"] = {"enum": [*dict.fromkeys(factors), *OWN_FACTORS]}
    claim["evidence"] = {"enum": sorted(evidence_ids)}
    schema["properties"]["confidence"] = {"enum": _CONFIDENCES}
    return JsonSchema(schema)
