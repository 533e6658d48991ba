# SPDX-License-Identifier: AGPL-3.0-or-later
"""Engines that are built once, and builds that fail once.

The tool that builds runs here with a module in place of TensorRT that follows its interface; the same test runs with
TensorRT itself on a GPU.
"""

import asyncio
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from inference_server.detection.backends.tensorrt import read_engine
from inference_server.models import engines as engines_module
from inference_server.models.engines import EngineBuilder, EngineBuildError, EngineCache, EngineKey, ToolBuilder
from tests.server.detection.graphs import COCO_METADATA, constant_model, end_to_end

KEY = EngineKey("ab" * 32, "NVIDIA H100", "9.0", "11.4.0", "f32", 64, 1)


@dataclass
class ScriptedBuilder:
    """Writes what it is told to, or fails."""

    content: bytes = b"engine"
    error: Exception | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event | None = None
    builds: int = 0

    async def build(self, weights: Path, target: Path, key: EngineKey, progress: Callable[[float], None]) -> None:
        """Write half of it, wait if need be, and write or fail."""
        self.builds += 1
        target.write_bytes(self.content[:1])
        progress(0.5)
        self.begun.set()
        if self.go_on is not None:
            await self.go_on.wait()
        if self.error is not None:
            raise self.error
        target.write_bytes(self.content)


async def _build(cache: EngineCache, builder: EngineBuilder, key: EngineKey = KEY) -> Path:
    return await cache.build(Path("m.onnx"), key, builder, lambda _done: None)


async def test_an_engine_is_built_once(tmp_path: Path) -> None:
    cache, builder = EngineCache(tmp_path / "engines"), ScriptedBuilder()
    assert cache.find(KEY) is None
    engine = await _build(cache, builder)
    assert engine.read_bytes() == b"engine"
    assert EngineCache(tmp_path / "engines").find(KEY) == engine
    assert await _build(cache, builder) == engine
    assert builder.builds == 1


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "cd" * 32},
        {"gpu": "NVIDIA T4"},
        {"capability": "7.5"},
        {"tensorrt": "11.5.0"},
        {"precision": "f16"},
        {"size": 640},
        {"most": 8},
    ],
)
async def test_an_engine_is_for_one_key_alone(tmp_path: Path, change: dict[str, str | int]) -> None:
    cache = EngineCache(tmp_path)
    await _build(cache, ScriptedBuilder())
    other = replace(KEY, **change)  # type: ignore[arg-type]
    assert cache.find(other) is None
    cache.note_failure(other, "too little memory")
    assert (cache.failure(KEY), cache.failure(other)) == (None, "too little memory")


async def test_a_changed_engine_does_not_count(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    engine = await _build(cache, ScriptedBuilder())
    engine.write_bytes(b"engin")
    assert cache.find(KEY) is None
    assert (await _build(cache, ScriptedBuilder())).read_bytes() == b"engine"


async def test_a_failed_build_leaves_its_reason_and_no_half_engine(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    with pytest.raises(EngineBuildError):
        await _build(cache, ScriptedBuilder(error=EngineBuildError("out of memory")))
    assert cache.failure(KEY) == "out of memory"
    assert cache.find(KEY) is None
    assert [path.suffix for path in tmp_path.iterdir() if path.name[0] != "."] == [".json"]


async def test_a_build_that_is_cancelled_is_not_a_failure(tmp_path: Path) -> None:
    cache, builder = EngineCache(tmp_path), ScriptedBuilder(go_on=asyncio.Event())
    building = asyncio.create_task(_build(cache, builder))
    await builder.begun.wait()
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)
    assert (cache.failure(KEY), cache.find(KEY)) == (None, None)
    assert not list(tmp_path.glob("*.part"))


async def test_two_processes_build_one_engine(tmp_path: Path) -> None:
    first, second = ScriptedBuilder(go_on=asyncio.Event()), ScriptedBuilder()
    building = asyncio.create_task(_build(EngineCache(tmp_path), first))
    await first.begun.wait()
    waiting = asyncio.create_task(_build(EngineCache(tmp_path), second))
    assert first.go_on is not None
    first.go_on.set()
    assert await building == await waiting
    assert second.builds == 0


@pytest.mark.parametrize("noted", ["", "no json", "[]", "{}", '{"reason": ["x"]', '"x"'])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, noted: str) -> None:
    (tmp_path / f"{KEY.id}.failed.json").write_text(noted)
    assert EngineCache(tmp_path).failure(KEY) is None


STAND_IN = """
class Logger:
    WARNING = 1
    def __init__(self, level): pass

class BuilderFlag:
    TF32 = "tf32"

class IProgressMonitor:
    def __init__(self): pass

class Config:
    rounded = "rounded"
    def clear_flag(self, flag): self.rounded = "exact" if flag == BuilderFlag.TF32 else flag
    def add_optimization_profile(self, profile): self.profile = profile

class Profile:
    def set_shape(self, name, least, usual, largest): self.shapes = [name, least, usual, largest]

class Input:
    name, shape = "images", (-1, 3, 64, 64)

class Network:
    def get_input(self, index): return Input()

class OnnxParser:
    num_errors = 1
    def __init__(self, network, logger): pass
    def parse(self, content): return b"unparsable" not in content
    def get_error(self, index): return "node 7 is not supported"

class Builder:
    def __init__(self, logger): pass
    def create_builder_config(self): return Config()
    def create_network(self, flags): return Network()
    def create_optimization_profile(self): return Profile()
    def build_serialized_network(self, network, config):
        monitor = config.progress_monitor
        monitor.phase_start("building", None, 4)
        monitor.phase_start("tactics", "building", 100)
        for step in range(4):
            monitor.step_complete("tactics", step)
            assert monitor.step_complete("building", step)
        monitor.phase_finish("building")
        print("TensorRT says something")
        return f"{config.profile.shapes} {config.rounded}".encode()
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToolBuilder:
    """The real tool, with a module in place of TensorRT."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "tensorrt.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    return ToolBuilder()


async def _with_tool(
    tool: ToolBuilder, folder: Path, key: EngineKey, **model: dict[str, str]
) -> tuple[Path, list[float]]:
    weights = constant_model(folder / "m.onnx", end_to_end(), **model)  # type: ignore[arg-type]
    told: list[float] = []
    target = folder / "m.engine"
    await tool.build(weights, target, key, told.append)
    return target, told


async def test_the_tool_writes_an_engine_with_its_header_and_tells_its_progress(
    tool: ToolBuilder, tmp_path: Path
) -> None:
    target, told = await _with_tool(tool, tmp_path, replace(KEY, most=4))
    metadata, plan = read_engine(target)
    assert metadata == COCO_METADATA
    assert plan == b"['images', [1, 3, 64, 64], [4, 3, 64, 64], [4, 3, 64, 64]] exact"
    assert told == [0.25, 0.5, 0.75, 1.0]


async def test_the_tool_says_what_the_parser_refuses(tool: ToolBuilder, tmp_path: Path) -> None:
    with pytest.raises(EngineBuildError, match="RuntimeError: node 7 is not supported"):
        await _with_tool(tool, tmp_path, KEY, metadata={"names": "['unparsable']"})


async def test_without_tensorrt_the_tool_says_so(tmp_path: Path) -> None:
    if find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed")
    with pytest.raises(EngineBuildError, match="No module named 'tensorrt'"):
        await _with_tool(ToolBuilder(), tmp_path, KEY)


def _script(folder: Path, code: str) -> ToolBuilder:
    path = folder / "tool.py"
    path.write_text(textwrap.dedent(code))
    return ToolBuilder(sys.executable, str(path))


async def test_a_builder_that_ends_without_a_word_or_an_engine_failed(tmp_path: Path) -> None:
    for code, reason in (("raise SystemExit(3)", "the status 3"), ("", "wrote no engine")):
        with pytest.raises(EngineBuildError, match=reason):
            await _script(tmp_path, code).build(tmp_path, tmp_path / "e", KEY, lambda _done: None)


async def test_nonsense_of_a_builder_is_no_progress(tmp_path: Path) -> None:
    told: list[float] = []
    code = """
        import sys
        print("progress x"); print("progress 7"); print("x" * 1_000_000); print("progress nan"); print("progress 0.5")
        open(sys.argv[2], "w").close()
    """
    await _script(tmp_path, code).build(tmp_path, tmp_path / "e", KEY, told.append)
    assert told == [0.5]


async def test_a_builder_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "BUILD_SECONDS", 0.5)
    tool = _script(tmp_path, "import time; time.sleep(600)")
    with pytest.raises(EngineBuildError, match="took more than"):
        await tool.build(tmp_path, tmp_path / "e", KEY, lambda _done: None)


@pytest.mark.gpu
async def test_tensorrt_itself(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    target, told = await _with_tool(ToolBuilder(), tmp_path, KEY)
    assert read_engine(target)[0] == COCO_METADATA
    assert told
