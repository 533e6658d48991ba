# SPDX-License-Identifier: AGPL-3.0-or-later
"""Home Security Intelligence: the inference server."""

import os
from importlib.metadata import version

# ONNX Runtime reports its use to Microsoft unless this is set before it is imported; nothing leaves this house.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("home-security-intelligence")

PROJECT_URL = "https://github.com/home-security-intelligence/home-security-intelligence"
"""The one place in the server that spells out the project's public address."""
