# SPDX-License-Identifier: AGPL-3.0-or-later
"""Making a quantised form, in a tool process."""

import sys
from pathlib import Path

from inference_server.models import quantise_tool
from inference_server.models.quantised import Form, Method
from inference_server.models.tool_process import Fraction, run_tool

_QUANTISE_SECONDS = 3600.0
"""The largest detector takes seconds for each picture."""


async def quantise(
    model: Path,
    target: Path,
    pictures: Path,
    *,
    method: Method,
    form: Form,
    progress: Fraction,
    python: str = sys.executable,
) -> None:
    """Write the quantised form of an ONNX file, calibrated with uint8 [n, 3, S, S] of a .npy file.

    Raises ToolError, OSError.
    """
    arguments = (str(model), str(target), str(pictures), method.value, form.value)
    await run_tool((python, "-P", quantise_tool.__file__, *arguments), _QUANTISE_SECONDS, progress)
