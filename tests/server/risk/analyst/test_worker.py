# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the process of a model does with a GPU, behind a library that pretends to have one; and with a real one."""

from collections import deque
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

from inference_server.risk.analyst.llama import frames, sampling
from inference_server.risk.analyst.llama.worker import _load, _opened
from tests.support.language import LEVELS, judge, llama


class _Library:
    """Has a GPU with room for so many layers."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def Llama(self, _path: str, *, n_gpu_layers: int, **options: Any) -> dict[str, Any]:  # noqa: N802
        self.tried.append(n_gpu_layers)
        if n_gpu_layers > self.room:
            raise ValueError("Failed to create llama_context")
        return options


def _setup(layers: int) -> frames.Setup:
    return frames.Setup("/models/x.gguf", context_tokens=1024, threads=3, gpu_layers=layers)


@pytest.mark.parametrize(("room", "taken"), [(1000, 999), (30, 24), (20, 12), (0, 0)])
def test_as_many_layers_as_fit_are_held_by_the_gpu(room: int, taken: int) -> None:
    library = _Library(room)
    options, layers = _opened(library, _setup(-1), 512, on_gpu=True)
    assert layers == library.tried[-1] == taken
    assert (options["n_ctx"], options["n_threads"], options["n_batch"]) == (1024, 3, 512)


def test_a_number_of_layers_that_does_not_fit_is_an_error_and_none_are_tried_without_a_gpu() -> None:
    with pytest.raises(ValueError, match="llama_context"):
        _opened(_Library(10), _setup(20), 512, on_gpu=True)
    library = _Library(10)
    assert _opened(library, _setup(20), 64, on_gpu=False)[1] == 0
    assert library.tried == [0]


@pytest.mark.gpu
async def test_a_gpu_holds_the_layers(real: Path) -> None:
    if not llama_cpp.llama_supports_gpu_offload():
        pytest.skip("llama-cpp-python was built without CUDA")
    async with llama(real, gpu_layers=-1) as model:
        assert LEVELS.problem((await model.answer(judge("x"))).value) is None
        assert model.status.device == "GPU (999 layers)"


async def test_layers_that_were_asked_for_without_a_gpu_are_told(
    hybrid: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("there is support for a GPU")
    async with llama(hybrid, gpu_layers=10) as model:
        await model.load()
        assert model.status.device == "CPU (1 threads)"
    assert "built without support for a GPU" in caplog.text


@pytest.mark.parametrize("content", [b"", b"7", b"[]", b'{"kind": "nobody"}', b'{"kind": "alive"}', b"\xff"])
def test_what_is_no_frame_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        frames.unpacked(content)


def test_a_frame_comes_back_as_it_was() -> None:
    ask = frames.Ask(3, [["user", "ü\ud83d"]], "{}", 5, 0.5, 7, ["."], thinking=True)
    packed = frames.packed(ask)
    assert frames.unpacked(packed[frames.HEAD.size :]) == ask
    assert frames.length(packed[: frames.HEAD.size]) == len(packed) - frames.HEAD.size
    with pytest.raises(ValueError, match="bytes"):
        frames.length(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="bytes"):
        frames.packed(frames.Piece(1, "x" * frames.MOST_BYTES))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_looking_at_the_likeliest_first_chooses_the_same_as_looking_at_all(
    hybrid: Path, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    generator, _ = _load(frames.Setup(str(hybrid), 512, 1, 0), deque())
    schema = LEVELS.text

    def answers() -> list[str]:
        asked = [
            frames.Ask(number, [["user", f"person {number}"]], schema, 40, temperature, number, [], thinking=False)
            for number in range(5)
        ]
        return [generator.answer(ask, lambda _text: None, lambda: None).text for ask in asked]

    quick = answers()
    monkeypatch.setattr(sampling, "_LIKELIEST", 1 << 20)
    assert answers() == quick
    generator.model.close()
