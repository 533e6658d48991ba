# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the doctor says of the analyst's language model."""

from pathlib import Path
from typing import Any

import pytest

from inference_server.core.diagnosis import Finding, FindingState
from inference_server.doctor.analyst import look
from inference_server.hardware.probe import probe
from inference_server.settings import AnalystSettings, HardwareSettings, Settings
from scripts.development.process import free_port
from tests.support.analyst_service import TOKEN, running_analyst
from tests.support.language import hybrid_path


async def _found(folder: Path, **analyst: Any) -> Finding:
    settings = Settings(data_dir=folder, analyst=AnalystSettings(**analyst), hardware=HardwareSettings(tier="cpu"))
    [finding] = await look(settings, probe())
    return finding


async def test_a_model_that_answers_is_well(tmp_path: Path) -> None:
    found = await _found(tmp_path, model_file=hybrid_path())
    assert found.state is FindingState.OK
    assert found.found.startswith("hybrid-of-random-numbers-1.gguf answers on CPU")


async def test_a_server_that_answers_is_well_and_one_that_does_not_is_a_problem(tmp_path: Path) -> None:
    async with running_analyst(tmp_path / "service", hybrid_path()) as service:
        assert (await _found(tmp_path, url=service.url, api_key=TOKEN)).state is FindingState.OK
        wrong = await _found(tmp_path, url=service.url, api_key="wrong-wrong-wrong")
        assert (wrong.state, "refuses the key" in wrong.found) == (FindingState.PROBLEM, True)
    away = await _found(tmp_path, url=f"http://127.0.0.1:{free_port()}")
    assert (away.state, "cannot be reached" in away.found) == (FindingState.PROBLEM, True)


@pytest.mark.parametrize(
    ("analyst", "state", "words"),
    [
        ({}, FindingState.OK, "the tier of this machine has none: the rules judge alone"),
        ({"backend": "off"}, FindingState.OK, "turned off"),
        ({"backend": "llama_cpp"}, FindingState.PROBLEM, "No language model is named"),
        ({"model": "nemotron-mini-4b"}, FindingState.PROBLEM, "is not installed"),
        ({"model": "no-such-model"}, FindingState.PROBLEM, "no-such-model"),
        ({"model_file": "/nowhere/x.gguf"}, FindingState.PROBLEM, "does not exist"),
    ],
)
async def test_no_model_is_well_unless_the_settings_want_one(
    tmp_path: Path, analyst: dict[str, Any], state: FindingState, words: str
) -> None:
    found = await _found(tmp_path, **analyst)
    assert (found.state, words in found.found) == (state, True), found


async def test_a_file_that_is_none_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"nonsense")
    found = await _found(tmp_path, model_file=file)
    assert (found.state, "is no GGUF file" in found.found) == (FindingState.PROBLEM, True)
    assert found.remedy


async def test_without_the_library_the_extra_is_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference_server.risk.analyst.opening.has_llama_cpp", lambda: False)
    found = await _found(tmp_path, model_file=hybrid_path())
    assert (found.state, "extra llm" in (found.remedy or "")) == (FindingState.PROBLEM, True)
