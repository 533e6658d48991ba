# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/protocol.md and the models say the same."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from inference_server.api import messages, websocket
from inference_server.api.application import ROUTES
from inference_server.api.model_objects import ModelFileObject, ModelObject, PullObject
from inference_server.api.problems import Problem, ProblemCode
from inference_server.api.routes.camera_settings import CameraChange, CameraSettingsObject
from inference_server.api.routes.events import EventQuery
from inference_server.api.routes.feedback import (
    CalibrationList,
    CalibrationObject,
    ChangeObject,
    EffectObject,
    LessonObject,
)
from inference_server.api.routes.hardware import (
    DiagnosisObject,
    FindingObject,
    GpuObject,
    GpuReadingObject,
    HardwareObject,
    MemoryUseObject,
    NoGpuObject,
    ResidentModelObject,
)
from inference_server.api.routes.judging import ExcessObject, JudgingObject, MixObject
from inference_server.api.routes.prompt_trials import (
    AnswerObject,
    ComparisonObject,
    LevelChangeObject,
    NotAvailableObject,
    SentObject,
    TrialBody,
    TrialItem,
    TrialResult,
    TriedPrompt,
    TriedPromptObject,
)
from inference_server.api.routes.prompts import (
    PromptObject,
    PromptSectionObject,
    PromptVariableObject,
    PromptVersionObject,
)
from inference_server.api.routes.trash import TrashedObject
from inference_server.api.routes.uploads import UploadedFrameObject
from inference_server.api.routes.zones import ZoneObject
from inference_server.api.schema import (
    MIN_SCHEMA_VERSION,
    SCHEMA_VERSION,
    AmountObject,
    BackupObject,
    BoxObject,
    CameraObject,
    CameraStorageObject,
    CleanupObject,
    ComponentObject,
    DeadLetterObject,
    DetectionObject,
    DiskObject,
    EventObject,
    FullDeadLetterObject,
    HealthReport,
    RefusalObject,
    RiskObject,
    RunningBackupObject,
    ServerObject,
    StorageObject,
)
from inference_server.core.announcement import AnnouncementKind
from inference_server.core.assessment import AssessmentSource, RiskLevel
from inference_server.core.detection import Label
from inference_server.core.event import EndReason
from inference_server.core.frame import TimeSource
from inference_server.core.model import Capability, DeviceNeed, MemoryBasis, PullState, PullStep
from inference_server.core.status import DetectorState
from inference_server.storage.tokens import Scope

PAGE = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
BLOCKS = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
TIME = "2026-11-23T08:00:00Z"

HARDWARE: dict[str, tuple[type[BaseModel], ...]] = {
    "hardware report": (HardwareObject, GpuObject, NoGpuObject, MemoryUseObject, ResidentModelObject),
    "reading": (GpuReadingObject,),
    "diagnosis": (DiagnosisObject, FindingObject),
}
SHAPES: dict[str, tuple[type[BaseModel], ...]] = {
    "amount": (AmountObject,),
    "cleanup": (CleanupObject,),
    "storage report": (StorageObject, CameraStorageObject, DiskObject),
    "model": (ModelObject, ModelFileObject),
    "pull": (PullObject,),
    "effect": (EffectObject, ChangeObject, LessonObject, RiskObject),
    "levels of the last days": (JudgingObject, ExcessObject, MixObject),
    "prompt version": (PromptVersionObject,),
    "trial": (
        TrialResult,
        TriedPromptObject,
        TrialItem,
        SentObject,
        AnswerObject,
        ComparisonObject,
        LevelChangeObject,
        NotAvailableObject,
    ),
}


def section(title: str) -> str:
    """Return the text below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def names(snippet: str) -> set[str]:
    """Return the names of a JSON object as the page writes it, values left out or not."""
    return set(re.findall(r'[{,]\s*"(\w+)"', snippet))


def fields(*models: type[BaseModel]) -> set[str]:
    return {name for model in models for name in model.model_fields}


@pytest.mark.parametrize(
    ("block", "model"),
    list(
        zip(BLOCKS, (Problem, CameraObject, EventObject, CameraSettingsObject, ZoneObject, ServerObject), strict=True)
    ),
)
def test_examples_are_valid_and_complete(block: str, model: type[BaseModel]) -> None:
    text = re.sub(r'"…( or null)?"', f'"{TIME}"', block)
    model.model_validate_json(text)
    assert fields(model) <= names(text)


def test_every_route_is_on_the_page() -> None:
    listed = re.findall(r"^\| `([A-Z]+) (/api/\S+)` \|", section("REST"), re.MULTILINE)
    served = [(str(route.method), route.path) for route in ROUTES] + [("GET", websocket.PATH)]
    assert sorted(listed) == sorted(served)


def test_every_problem_code_is_on_the_page_with_its_status() -> None:
    listed: dict[str, set[str]] = {}
    for codes, statuses in re.findall(r"((?:`\w+`,?\s+)+)\(([\d, ]+)\)", section("Errors")):
        for code in quoted(codes):
            listed.setdefault(code, set()).update(statuses.split(", "))
    assert listed.pop("invalid_request") == {"400", "422"}
    assert listed == {code: {str(code.kind.status)} for code in set(ProblemCode) - {ProblemCode.INVALID_REQUEST}}


def test_the_lists_of_the_page() -> None:
    assert f"Schema version **{SCHEMA_VERSION}**" in PAGE
    kinds = re.findall(r"^\| ((?:`\w+`,? ?)+)\|", section("WebSocket `/api/ws`"), re.MULTILINE)
    assert set().union(*map(quoted, kinds)) == set(AnnouncementKind)
    scopes = re.findall(r"^\| `(\w+)` \|", section("Authentication"), re.MULTILINE)
    assert set(scopes) == set(Scope)
    objects = section("Objects")
    assert f"Labels: {', '.join(Label)}." in objects
    assert f"Levels: {', '.join(RiskLevel)}." in objects
    assert f"`detector.state`: {', '.join(f'`{state}`' for state in DetectorState)}." in objects
    assert f"`source`: {' or '.join(f'`{source}`' for source in AssessmentSource)}." in objects
    assert f"Capabilities: {', '.join(Capability)}." in " ".join(objects.split())
    for values in (PullState, PullStep, MemoryBasis, DeviceNeed):
        assert {f"`{value}`" for value in values} <= set(re.findall(r"`\w+`", objects))
    sources = [f"`{source}`" for source in TimeSource]
    assert f"`time_source`: {', '.join(sources[:-1])} or {sources[-1]}." in section("Uploading a picture")
    assert f"`end_reason`: {', '.join(f'`{reason}`' for reason in EndReason)} or null." in objects


def test_the_shapes_that_the_page_writes_in_a_line() -> None:
    report = re.search(r'health report: `({"status".*?)`;', PAGE, re.DOTALL)
    assert report
    assert names(report[1]) == fields(HealthReport, ComponentObject)
    detections = re.search(r'`({"items": \[{"frame_id".*?)`', PAGE)
    assert detections
    assert names(detections[1]) == {"items"} | fields(DetectionObject, BoxObject)
    refusals = re.search(r'`({"items": \[{"path".*?)`', PAGE)
    assert refusals
    assert names(refusals[1]) == {"items", "next_cursor"} | fields(RefusalObject)
    uploaded = re.search(r'201 `({"frame_id".*?)`', PAGE)
    assert uploaded
    assert names(uploaded[1]) == fields(UploadedFrameObject)
    assert fields(CameraChange) == fields(CameraSettingsObject) - {"clock_offset_seconds"}
    letter = re.search(r'dead letter: `({"id".*?})`', PAGE, re.DOTALL)
    assert letter
    assert names(letter[1]) == fields(DeadLetterObject)
    own = fields(FullDeadLetterObject) - fields(DeadLetterObject)
    assert own == {"trace", "picture", "discarded_at"} <= quoted(section("Objects"))
    stored = re.search(r'`({"items": \[{"name".*?)`', PAGE)
    assert stored
    assert names(stored[1]) == {"items", "running"} | fields(BackupObject)
    running = re.search(r"202 `({.*?})`", PAGE)
    assert running
    assert names(running[1]) == fields(RunningBackupObject)
    trash = re.search(r'`({"items": \[{"event": event.*?)`', PAGE)
    assert trash
    assert names(trash[1]) == {"items", "next_cursor"} | fields(TrashedObject)
    for title, models in (SHAPES | HARDWARE).items():
        shape = re.search(rf"^{title}: `({{.*?}})`", PAGE, re.MULTILINE | re.DOTALL)
        assert shape
        assert names(shape[1]) == fields(*models)


def test_the_shapes_of_what_is_learnt_and_of_prompts_that_the_page_writes_in_a_line() -> None:
    calibration = re.search(r"calibration` \| `({.*?})`:", PAGE)
    assert calibration
    assert names(calibration[1]) == fields(CalibrationList, CalibrationObject)
    body = re.search(r"The body of a trial is `({.*?})`", PAGE, re.DOTALL)
    assert body
    assert names(body[1]) == fields(TrialBody, TriedPrompt)
    kinds = re.search(r"`GET /api/prompts` \| `({.*?})`", PAGE)
    assert kinds
    assert names(kinds[1]) == {"items"} | fields(PromptObject, PromptVariableObject, PromptSectionObject)
    query = re.search(r"`GET /api/events` \|.*newest first; (.*) \|", PAGE)
    assert query
    assert quoted(query[1]) == fields(EventQuery)


@pytest.mark.parametrize(
    "model",
    [
        messages.Hello,
        messages.Auth,
        messages.AuthOk,
        messages.AuthFailed,
        messages.Subscribe,
        messages.Snapshot,
        messages.Replay,
        messages.Message,
        messages.ServerMessage,
        messages.ModelPullMessage,
        messages.ErrorMessage,
    ],
)
def test_messages_have_the_fields_of_the_page(model: type[BaseModel]) -> None:
    kind = model.model_json_schema()["properties"]["type"]["const"]
    snippets = re.findall(rf'`({{"type": "{kind}".*?}})`', PAGE, re.DOTALL)
    assert snippets, kind
    for snippet in snippets:
        assert names(snippet) == fields(model)


def test_reasons_of_a_refused_client_are_on_the_page() -> None:
    codes = re.search(r"close 4401\. Codes: (.*?)\. ", PAGE, re.DOTALL)
    assert codes
    listed = quoted(codes[1]) - {"read"}
    assert listed == set(get_args(messages.AuthFailure))


def test_close_codes_and_versions() -> None:
    for code in websocket.CloseCode:
        assert str(code.value) in PAGE
    assert MIN_SCHEMA_VERSION <= SCHEMA_VERSION
