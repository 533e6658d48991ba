# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log: one line a record on standard error, times in UTC."""

import logging
import time


def configure_logs(level: str) -> None:
    """Log from this level ("debug" to "error") up; libraries speak from warning up."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("inference_server").setLevel(level.upper())
