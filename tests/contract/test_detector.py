# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the detector runs on, from the setting to what Home Assistant shows."""

from pathlib import Path

from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from scripts.development.process import free_port
from tests.contract.conftest import PIPELINE_SETTINGS
from tests.contract.connection import connected, get, running_server
from tests.contract.security_events import SecurityEvents
from tests.integration.waiting import until
from tests.support import scenes
from tests.support.weights import models_folder

DETECTOR = "sensor.home_security_intelligence_detector"


def _shown(hass: HomeAssistant, attribute: str) -> str:
    """Return an attribute of the detector's sensor, empty without one."""
    state = hass.states.get(DETECTOR)
    return str(state.attributes.get(attribute) or "") if state else ""


async def test_a_backend_that_cannot_be_had_is_a_repair_and_one_that_can_is_used(
    hass: HomeAssistant, tmp_path: Path, security_events: SecurityEvents
) -> None:
    """Without a GPU the processor judges in place of CUDA and Home Assistant says so; OpenVINO judges as it should."""
    port = free_port()
    settings = PIPELINE_SETTINGS | {"HSI_MODELS_DIR": str(models_folder())}
    wanted = "ONNX Runtime with TensorRT on an NVIDIA GPU (f32)"

    async with running_server(tmp_path, port, settings | {"HSI_DETECTOR__BACKEND": "onnx-tensorrt"}) as server:
        await connected(hass, server)
        await until(hass, lambda: _shown(hass, "wanted_provider") == wanted)
        assert _shown(hass, "provider") == "CPUExecutionProvider"
        [issue] = ir.async_get(hass).issues.values()
        assert issue.translation_key == "detector_provider"
        assert issue.translation_placeholders is not None
        assert "uv pip install '.[gpu]'" in issue.translation_placeholders["message"]
        parts = (await get(server, "/api/system/health/full"))["components"]
        [detector] = [part for part in parts if part["name"] == "detector"]
        assert detector["state"] == "degraded"
        assert (detector["details"]["wanted"], detector["details"]["provider"]) == (wanted, "CPUExecutionProvider")
        assert "uv pip install '.[gpu]'" in detector["remedy"]

    async with running_server(tmp_path, port, settings | {"HSI_DETECTOR__BACKEND": "openvino"}) as server:
        await until(hass, lambda: _shown(hass, "provider").startswith("OpenVINO CPU"))
        assert not ir.async_get(hass).issues
        scenes.drop(server.watch_root / "gate", scenes.encode(scenes.one_person()))
        await until(hass, lambda: security_events.of("gate") == ["detected"])
