# SPDX-License-Identifier: AGPL-3.0-or-later
"""Schemas: what a grammar cannot keep is refused or said otherwise, and answers are held to what is said."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from inference_server.risk.analyst.language_model import BadAnswer, LanguageRequest, read_value, without_thoughts
from inference_server.risk.analyst.schema import JsonSchema, SchemaError


class _Verdict(BaseModel):
    score: int = Field(ge=0, le=100)
    summary: str = Field(max_length=20)
    factors: list[str] = Field(default=[], max_length=2)


VERDICT = JsonSchema(_Verdict.model_json_schema())


def test_a_range_of_whole_numbers_becomes_an_enum_that_a_grammar_keeps() -> None:
    assert VERDICT.value["properties"]["score"] == {"enum": list(range(101))}
    assert VERDICT.problem({"score": 100, "summary": "x"}) is None
    assert VERDICT.problem({"score": 101, "summary": "x"}) == "$.score is none of the 101 values allowed"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"score": 1}, "$.summary is missing"),
        ({"score": True, "summary": ""}, "$.score is none"),
        ({"score": "1", "summary": ""}, "$.score is none"),
        ({"score": 1, "summary": "x" * 21}, "$.summary has the length 21"),
        ({"score": 1, "summary": "", "factors": ["a", "b", "c"]}, "$.factors has the length 3"),
        ({"score": 1, "summary": "", "factors": [1]}, "$.factors[0] is no string"),
        ({"score": 1, "summary": "", "more": 1}, "$.more is not allowed"),
        ([], "$ is no object"),
        (None, "$ is no object"),
    ],
)
def test_an_answer_that_does_not_fit_says_where(value: Any, problem: str) -> None:
    found = VERDICT.problem(value)
    assert found is not None
    assert found.startswith(problem)


def test_what_refers_to_other_parts_is_followed() -> None:
    schema = JsonSchema(
        {
            "$ref": "#/$defs/Node",
            "$defs": {
                "Node": {
                    "type": "object",
                    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
                    "required": ["next"],
                }
            },
        }
    )
    assert schema.problem({"next": {"next": None}}) is None
    assert schema.problem({"next": {"next": 1}}) == "$.next fits none of anyOf"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "number", "minimum": 0, "maximum": 1}, "which a grammar cannot keep"),
        ({"type": "integer", "minimum": 0}, "which a grammar cannot keep"),
        ({"type": "integer", "minimum": 0, "maximum": 10**18}, "which a grammar cannot keep"),
        ({"type": "object", "patternProperties": {}}, "patternProperties"),
        ({"type": "text"}, "no known type"),
        ({"type": ["string", {}]}, "no known type"),
        ({"type": "string", "pattern": "a"}, "has to begin with ^"),
        ({"type": "string", "pattern": "^($"}, "is no pattern"),
        ({"type": "string", "maxLength": 10**9}, "no whole number up to"),
        ({"type": "array", "items": 7}, "is no schema"),
        ({"enum": []}, "no list of values"),
        ({"$ref": "#/$defs/Nobody"}, "is not there"),
        ({"$ref": "http://elsewhere"}, "outside of the schema"),
        ({"properties": {"a": {}}, "required": ["b"]}, "none of its properties"),
        ({"properties": []}, "no object of schemas"),
        ({"anyOf": []}, "no list of schemas"),
        ({"const": float("nan")}, "no JSON schema"),
        ({"enum": ["x" * 100_000]}, "bytes"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused_in_words(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words.replace("^", r"\^")):
        JsonSchema(schema)


def test_schemas_without_end_are_refused_and_do_not_hang() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    with pytest.raises(SchemaError, match="nested too deeply"):
        JsonSchema(deep)
    assert "without end" in (JsonSchema({"$ref": "#"}).problem(1) or "")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_value_is_held_against_a_schema_without_an_error(value: Any) -> None:
    assert VERDICT.problem(value) is not None


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("<think>a dog</think>\n{}", "{}"),
        ("<think>a <think> b</think> c</think>{}", "{}"),
        ("a dog</think>{}", "{}"),
        ("{}<think>and now", "{}"),
        ("<think>for ever", ""),
        (" {} ", "{}"),
    ],
)
def test_thoughts_are_no_part_of_an_answer(said: str, left: str) -> None:
    assert without_thoughts(said) == left


def test_json_within_a_fence_is_read() -> None:
    assert read_value('<think>hm</think>```json\n{"score": 3, "summary": "a"}\n```', VERDICT) == {
        "score": 3,
        "summary": "a",
    }


def test_a_text_may_have_line_breaks_as_they_are() -> None:
    assert read_value('{"score": 3, "summary": "a\nb\tc"}', VERDICT) == {"score": 3, "summary": "a\nb\tc"}


@pytest.mark.parametrize("said", ["", "{", "nonsense", "NaN", "[1e999]", "[" * 100_000, '{"score": 3}', "7"])
def test_what_is_no_such_json_is_a_bad_answer_that_keeps_the_text(said: str) -> None:
    with pytest.raises(BadAnswer) as bad:
        read_value(said, VERDICT)
    assert bad.value.text == said


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"temperature": float("nan")},
        {"seed": -1},
        {"deadline_seconds": float("inf")},
        {"prefix": "x" * (1 << 20)},
        {"stop": ("",)},
    ],
)
def test_a_request_that_nobody_could_answer_is_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is not|have more"):
        LanguageRequest(prompt="x", **wrong)


def test_the_text_of_a_schema_is_its_json() -> None:
    assert json.loads(VERDICT.text) == VERDICT.value
