# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a GGUF file says at its beginning (ggml's docs/gguf.md): enough to refuse what is none, in plain words."""

import struct
from pathlib import Path

from inference_server.risk.analyst.language_model import Refused

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_TENSORS = 1 << 20
_HEAD = struct.Struct("<4sIQQ")
_REMEDY = "Name a model in GGUF, or fetch it again (hsi models verify tells what is damaged)."


def check_gguf(file: Path) -> None:
    """Return if a file looks like GGUF. Blocks. Raises Refused."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD.size)
    except OSError as error:
        raise Refused(f"The model file {file} cannot be read: {error.strerror or error}.", _REMEDY) from error
    if head[: len(MAGIC)] != MAGIC:
        raise Refused(f"{file} is no GGUF file: it does not begin with {MAGIC.decode()}.", _REMEDY)
    if len(head) < _HEAD.size:
        raise Refused(f"{file} is cut off: it has {len(head)} bytes.", _REMEDY)
    _, version, tensors, fields = _HEAD.unpack(head)
    if version not in VERSIONS:
        known = " and ".join(map(str, VERSIONS))
        raise Refused(f"{file} is of version {version} of GGUF; {known} are known.", _REMEDY)
    if not 0 < tensors <= MOST_TENSORS or fields > MOST_TENSORS:
        raise Refused(f"{file} is damaged: it speaks of {tensors} tensors and {fields} fields.", _REMEDY)
