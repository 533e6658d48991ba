# SPDX-License-Identifier: AGPL-3.0-or-later
"""Home Security Intelligence: the inference server."""

from importlib.metadata import version

__version__ = version("home-security-intelligence")

PROJECT_URL = "https://github.com/home-security-intelligence/home-security-intelligence"
"""The one place in the server that spells out the project's public address."""
