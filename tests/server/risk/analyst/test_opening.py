# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which language model the settings mean, and why there is none."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from inference_server.models.store import ModelStore
from inference_server.risk.analyst.llama.model import LlamaCppModel
from inference_server.risk.analyst.openai import OpenAiModel
from inference_server.risk.analyst.opening import LocalModel, NoModel, choose_model, open_model, threads_for
from inference_server.settings import AnalystSettings
from tests.support.language import hybrid_path
from tests.support.weights import language_model_path, models_folder


def _choice(suggested: str | None = None, **settings: Any) -> LocalModel | NoModel | str:
    return choose_model(AnalystSettings(**settings), ModelStore(models_folder()), suggested)


def test_what_is_named_is_taken_and_the_tiers_model_only_where_it_is_installed() -> None:
    installed = language_model_path()
    assert _choice(model="smollm2-135m") == LocalModel(installed, "smollm2-135m", "SmolLM2 135M Instruct Q4_1")
    assert isinstance(_choice("smollm2-135m"), LocalModel)
    assert _choice(model_file=hybrid_path()) == LocalModel(hybrid_path(), hybrid_path().stem, hybrid_path().name)
    assert _choice("smollm2-135m", url="http://gpu.local:8091") == "http://gpu.local:8091"
    assert isinstance(_choice(url="http://gpu.local", model="smollm2-135m"), LocalModel)
    assert _choice(url="http://gpu.local", model="smollm2-135m", backend="openai") == "http://gpu.local"


@pytest.mark.parametrize(
    ("suggested", "settings", "wanted", "words"),
    [
        (None, {}, False, "the tier of this machine has none"),
        ("nemotron-mini-4b", {}, False, "Nemotron Mini 4B Instruct Q4_K_M is not installed"),
        ("nemotron-mini-4b", {"backend": "llama_cpp"}, True, "is not installed"),
        ("smollm2-135m", {"backend": "off"}, False, "turned off"),
        (None, {"model": "nobody"}, True, "nobody"),
        (None, {"model_file": "/nowhere/x.gguf"}, True, "does not exist"),
    ],
)
def test_why_there_is_none_is_said_with_the_remedy(
    suggested: str | None,
    settings: dict[str, Any],
    wanted: bool,
    words: str,
) -> None:
    found = _choice(suggested, **settings)
    assert isinstance(found, NoModel)
    assert (found.wanted, words in found.reason) == (wanted, True), found
    assert found.remedy


def test_a_choice_becomes_the_model() -> None:
    local = LocalModel(Path("/models/x.gguf"), "x", "X")
    assert isinstance(open_model(local, AnalystSettings(), 4), LlamaCppModel)
    remote = open_model("http://gpu.local:8091", AnalystSettings(api_key="k"), 4)
    assert isinstance(remote, OpenAiModel)
    assert remote.status.device == "http://gpu.local:8091/v1"


@pytest.mark.parametrize(("cores", "threads"), [(0.5, 1), (1, 1), (2, 1), (3.5, 2), (16, 15)])
def test_one_core_is_left_to_who_judges_pictures(cores: float, threads: int) -> None:
    assert threads_for(cores) == threads


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backend": "openai"}, "needs url"),
        ({"backend": "other"}, "llama_cpp"),
        ({"model_file": "x.onnx"}, "is no .gguf file"),
        ({"url": "gpu.local"}, "write http://HOST:8091"),
        ({"url": "http://user:key@gpu.local"}, "a setting of its own"),
        ({"url": "http://gpu.local:99999"}, "this is no URL"),
        ({"api_key": "a b"}, "no spaces"),
        ({"api_key": "a\nb"}, "no spaces"),
        ({"context_tokens": 10}, "512"),
        ({"stall_seconds": float("nan")}, "stall_seconds"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds"),
        ({"gpu_layers": -2}, "-1"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_words(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        AnalystSettings(**settings)
    assert words in str(wrong.value)
