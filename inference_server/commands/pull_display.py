# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is shown while models are installed: a bar each on a terminal, a line now and then elsewhere."""

import shutil
import threading
import time
from collections.abc import Sequence
from typing import TextIO

from inference_server.core.model import PullStep
from inference_server.models.digest import Progress
from inference_server.models.store import Steps

_INTERVAL_SECONDS = 0.1
_BAR = 24
_PLAIN_STEP = 10
"""Per cent between two lines where there is no terminal."""


class PullDisplay:
    """Shows how far several models are. May be told from any thread."""

    def __init__(self, models: Sequence[str], stream: TextIO) -> None:
        """Take the ids of the models, and where to write."""
        self._stream = stream
        self._terminal = stream.isatty()
        self._lines = dict.fromkeys(models, "waiting")
        self._told: dict[str, int] = {}
        self._drawn = 0
        self._drawn_at = 0.0
        self._lock = threading.Lock()

    def progress(self, model_id: str) -> Progress:
        """Return what is told the bytes of one model."""

        def tell(done: int, total: int | None) -> None:
            percent = 100 * done // total if total else 0
            amount = f"{done / 1e6:,.1f} of {(total or done) / 1e6:,.1f} MB"
            if self._terminal:
                filled = _BAR * percent // 100
                first = not self._lines[model_id].startswith("[")
                self._show(model_id, f"[{'#' * filled}{'.' * (_BAR - filled)}] {percent:3} %  {amount}", at_once=first)
            elif percent // _PLAIN_STEP != self._told.get(model_id):
                self._told[model_id] = percent // _PLAIN_STEP
                self._show(model_id, f"{percent} % ({amount})", at_once=True)

        return tell

    def steps(self, model_id: str) -> Steps:
        """Return what is told the steps of one model."""
        return lambda step: self._show(model_id, f"{step}...", at_once=step is not PullStep.DOWNLOADING)

    def finish(self, model_id: str, result: str) -> None:
        """Show how it ended."""
        self._show(model_id, result, at_once=True)

    def _show(self, model_id: str, text: str, *, at_once: bool = False) -> None:
        with self._lock:
            changed, self._lines[model_id] = self._lines[model_id] != text, text
            if not self._terminal:
                if changed:
                    print(f"{model_id}: {text}", file=self._stream, flush=True)
            elif at_once or time.monotonic() - self._drawn_at >= _INTERVAL_SECONDS:
                self._draw()

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        lines = [f"\x1b[2K{f'{name}: {text}'[:width]}\n" for name, text in self._lines.items()]
        print(up + "".join(lines), end="", file=self._stream, flush=True)
        self._drawn, self._drawn_at = len(self._lines), time.monotonic()
