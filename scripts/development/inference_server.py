# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real inference server, for development and for the end-to-end tests."""

import asyncio
import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import aiohttp

from .process import Child, ProcessEnded
from .repository import REPOSITORY, cache_directory, local_time_zone

HSI = Path(sys.executable).with_name("hsi")


class InferenceServer:
    """One ``hsi serve`` process and its data folder."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int,
        watch_root: Path,
        host: str = "127.0.0.1",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.host = host
        self.port = port
        self.url = f"http://{host}:{port}"
        self.watch_root = watch_root
        self._settings = {
            "HSI_DATA_DIR": str(directory),
            "HSI_WATCH_ROOT": str(watch_root),
            "HSI_MODELS_DIR": str(cache_directory() / "models"),
            "HSI_TIME_ZONE": local_time_zone() or "UTC",
            "HSI_API__HOST": host,
            "HSI_API__PORT": str(port),
            **(settings or {}),
        }
        self.process = self._child("Inference server", "serve", log=directory.parent / f"{directory.name}.log")

    @property
    def token(self) -> str:
        """The integration's token, which the first start writes."""
        return (self.directory / "token").read_text().strip()

    async def pull_models(self, *models: str) -> None:
        """Download the models the settings name; progress goes to the terminal."""
        pull = self._child("Model download", "models", "pull", *models)
        await pull.start()
        try:
            code = await pull.wait()
        finally:
            await pull.stop()
        if code:
            raise ProcessEnded(f"The models could not be downloaded ('hsi models pull' ended with {code}, see above).")

    async def start(self, timeout: float = 120) -> None:
        """Start the process and wait until it is ready for pictures."""
        for folder in (self.directory, self.watch_root):
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        await self.process.start()
        async with aiohttp.ClientSession() as session:
            await self.process.until(lambda: self._is_ready(session), timeout=timeout)

    async def stop(self) -> None:
        """Stop the process cleanly."""
        await self.process.stop()

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/api/system/ready") as response:
                return response.status == HTTPStatus.OK
        except aiohttp.ClientError:
            return False

    def _child(self, name: str, *arguments: str, log: Path | None = None) -> Child:
        return Child(name, [HSI, *arguments], log=log, directory=REPOSITORY, environment=self._settings)
