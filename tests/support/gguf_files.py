# SPDX-License-Identifier: AGPL-3.0-or-later
"""GGUF files for tests: a tiny hybrid like Nemotron-3-Nano, with random weights and the tokenizer of another file.

The format is that of ggml's docs/gguf.md, version 3.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
LAYERS = "MEM*EMEM"
"""M is a Mamba-2 layer, E a mixture of experts, * attention."""
_WIDTH, _HEADS, _KV_HEADS, _HEAD = 64, 4, 2, 16
_INNER, _STATE, _GROUPS, _STEPS, _KERNEL = 128, 16, 2, 8, 4
_EXPERTS, _USED, _EXPERT_WIDTH = 8, 2, 64


def write_hybrid(target: Path, tokenizer_of: Path, *, template: str | None = None) -> None:
    """Write a model of the architecture nemotron_h_moe; `template` replaces the chat template of the other file."""
    fields = dict(_fields(tokenizer_of, "tokenizer."))
    if template is not None:
        fields["tokenizer.chat_template"] = _value(template)
    words = struct.unpack_from("<Q", fields["tokenizer.ggml.tokens"], 8)[0]
    settings = {key: _value(value) for key, value in _settings(words).items()}
    tensors = dict(_tensors(words))
    settings |= fields
    with target.open("wb") as file:
        file.write(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(settings)))
        for key, value in settings.items():
            file.write(_text(key) + value)
        offset = 0
        for name, tensor in tensors.items():
            kind = 1 if tensor.dtype == np.float16 else 0
            file.write(_text(name) + struct.pack(f"<I{tensor.ndim}QIQ", tensor.ndim, *tensor.shape[::-1], kind, offset))
            offset += _aligned(tensor.nbytes)
        file.write(bytes(-file.tell() % ALIGNMENT))
        for tensor in tensors.values():
            file.write(tensor.tobytes() + bytes(_aligned(tensor.nbytes) - tensor.nbytes))


def _settings(words: int) -> dict[str, Any]:
    own: dict[str, Any] = {
        "block_count": len(LAYERS),
        "context_length": 8192,
        "embedding_length": _WIDTH,
        "vocab_size": words,
        "attention.head_count": _HEADS,
        "attention.head_count_kv": [_KV_HEADS if layer == "*" else 0 for layer in LAYERS],
        "attention.key_length": _HEAD,
        "attention.value_length": _HEAD,
        "feed_forward_length": [_EXPERT_WIDTH if layer == "E" else 0 for layer in LAYERS],
        "attention.layer_norm_epsilon": 1e-5,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "ssm.conv_kernel": _KERNEL,
        "ssm.state_size": _STATE,
        "ssm.group_count": _GROUPS,
        "ssm.inner_size": _INNER,
        "ssm.time_step_rank": _STEPS,
        "expert_count": _EXPERTS,
        "expert_used_count": _USED,
        "expert_shared_count": 1,
        "expert_group_count": 1,
        "expert_feed_forward_length": _EXPERT_WIDTH,
        "expert_shared_feed_forward_length": _EXPERT_WIDTH,
        "expert_weights_norm": True,
        "expert_weights_scale": 1.0,
        "rope.dimension_count": _HEAD,
        "rope.scaling.finetuned": False,
    }
    return {
        "general.architecture": "nemotron_h_moe",
        "general.name": "tiny hybrid of random numbers",
        "general.file_type": 0,
        **{f"nemotron_h_moe.{key}": value for key, value in own.items()},
    }


def _tensors(words: int) -> Iterator[tuple[str, np.ndarray]]:
    random = np.random.default_rng(0)

    def some(*shape: int, scale: float | None = None) -> np.ndarray:
        return (random.standard_normal(shape) * (scale or shape[-1] ** -0.5)).astype(np.float32)

    def alike(value: float, *shape: int) -> np.ndarray:
        return np.full(shape, value, np.float32)

    yield "token_embd.weight", some(words, _WIDTH, scale=0.05).astype(np.float16)
    yield "output.weight", some(words, _WIDTH, scale=0.05).astype(np.float16)
    yield "output_norm.weight", alike(1, _WIDTH)
    for number, layer in enumerate(LAYERS):
        parts = {"attn_norm.weight": alike(1, _WIDTH)}
        if layer == "M":
            mixed = _INNER + 2 * _GROUPS * _STATE
            parts |= {
                "ssm_in.weight": some(_INNER + mixed + _STEPS, _WIDTH),
                "ssm_conv1d.weight": some(mixed, _KERNEL),
                "ssm_conv1d.bias": alike(0, mixed),
                "ssm_dt.bias": alike(0.1, _STEPS),
                "ssm_a": -np.exp(random.uniform(0, 1, (_STEPS, 1))).astype(np.float32),
                "ssm_d": alike(1, _STEPS, 1),
                "ssm_norm.weight": alike(1, _GROUPS, _INNER // _GROUPS),
                "ssm_out.weight": some(_WIDTH, _INNER),
            }
        elif layer == "*":
            parts |= {
                "attn_q.weight": some(_HEADS * _HEAD, _WIDTH),
                "attn_k.weight": some(_KV_HEADS * _HEAD, _WIDTH),
                "attn_v.weight": some(_KV_HEADS * _HEAD, _WIDTH),
                "attn_output.weight": some(_WIDTH, _HEADS * _HEAD),
            }
        else:
            parts |= {
                "ffn_gate_inp.weight": some(_EXPERTS, _WIDTH),
                "exp_probs_b.bias": alike(0, _EXPERTS),
                "ffn_up_exps.weight": some(_EXPERTS, _EXPERT_WIDTH, _WIDTH),
                "ffn_down_exps.weight": some(_EXPERTS, _WIDTH, _EXPERT_WIDTH),
                "ffn_up_shexp.weight": some(_EXPERT_WIDTH, _WIDTH),
                "ffn_down_shexp.weight": some(_WIDTH, _EXPERT_WIDTH),
            }
        yield from ((f"blk.{number}.{name}", tensor) for name, tensor in parts.items())


def _value(value: Any) -> bytes:
    """Return a value with its type before it."""
    kind, packed = _packed(value)
    if isinstance(value, list):
        inner = _packed(value[0])[0]
        return struct.pack("<IIQ", _ARRAY, inner, len(value)) + b"".join(_packed(item)[1] for item in value)
    return struct.pack("<I", kind) + packed


def _packed(value: Any) -> tuple[int, bytes]:
    match value:
        case bool():
            return _BOOL, struct.pack("<?", value)
        case int():
            return _UINT32, struct.pack("<I", value)
        case float():
            return _FLOAT32, struct.pack("<f", value)
        case str():
            return _STRING, _text(value)
    return _ARRAY, b""


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _aligned(size: int) -> int:
    return size + -size % ALIGNMENT


def _fields(file: Path, start: str) -> Iterator[tuple[str, bytes]]:
    """Yield the fields of a file whose names begin so, each with the bytes of its type and value."""
    with file.open("rb") as opened:
        content: Mapping[int, int] | bytes = opened.read(8 << 20)
    assert isinstance(content, bytes)
    count = struct.unpack_from("<Q", content, 16)[0]
    at = 24
    for _ in range(count):
        length = struct.unpack_from("<Q", content, at)[0]
        key = content[at + 8 : at + 8 + length].decode()
        at += 8 + length
        end = _end(content, at + 4, struct.unpack_from("<I", content, at)[0])
        if key.startswith(start):
            yield key, content[at:end]
        at = end


def _end(content: bytes, at: int, kind: int) -> int:
    if kind == _STRING:
        return at + 8 + int(struct.unpack_from("<Q", content, at)[0])
    if kind != _ARRAY:
        return at + _SIZES[kind]
    inner, count = struct.unpack_from("<IQ", content, at)
    at += 12
    if inner in _SIZES:
        return at + int(count) * _SIZES[inner]
    for _ in range(count):
        at = _end(content, at, inner)
    return at
