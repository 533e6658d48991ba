# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: `hsi --help` lists the commands."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Sequence

from pydantic import ValidationError
from pydantic_settings import SettingsError

from inference_server import __version__
from inference_server.analyst_service.service import AnalystServiceMisplacedError
from inference_server.api.server import CannotListenError
from inference_server.commands import (
    backup,
    cameras,
    dead_letters,
    doctor,
    evaluate,
    ftp,
    models,
    prompts,
    restore,
    serve,
    storage,
    tokens,
)
from inference_server.commands.command import Command
from inference_server.detector_service.service import DetectorServiceMisplacedError
from inference_server.evaluation.errors import ScenarioError
from inference_server.models.errors import ModelUnavailable
from inference_server.observability.logs import configure_logs
from inference_server.pipeline.streams import RedisMissingError
from inference_server.risk.weights import WeightsError
from inference_server.settings import ENVIRONMENT_PREFIX, Settings
from inference_server.storage.backup.errors import BackupError
from inference_server.storage.data_folder import DataFolderError
from inference_server.storage.database import DatabaseUnusableError

EXPLAINED = (
    AnalystServiceMisplacedError,
    BackupError,
    CannotListenError,
    DataFolderError,
    DatabaseUnusableError,
    DetectorServiceMisplacedError,
    ModelUnavailable,
    RedisMissingError,
    ScenarioError,
    WeightsError,
)
"""Errors that say what to do."""
_SUBJECTS = (
    serve,
    doctor,
    cameras,
    models,
    prompts,
    tokens,
    ftp,
    dead_letters,
    backup,
    restore,
    storage,
    evaluate,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Return 0, 1 for a failure that was explained, 2 for a wrong call or setting."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings()
    except (ValidationError, SettingsError) as error:
        print(_explain(error), file=sys.stderr)
        return 2
    configure_logs(settings.log_level)
    command: Command = options.command
    try:
        return asyncio.run(_await(command(options, settings)))
    except (*EXPLAINED, OSError) as error:
        told = (
            f"{str(error).rstrip('.')}. {error.remedy}"
            if isinstance(error, ModelUnavailable | WeightsError)
            else str(error)
        )
        print(told, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


async def _await(result: Awaitable[int]) -> int:
    return await result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hsi", description="Home Security Intelligence: the inference server.")
    parser.add_argument("--version", action="version", version=f"hsi {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for subject in _SUBJECTS:
        subject.register(commands)
    return parser


def _explain(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        return f"The settings cannot be read: {error}"
    lines = ["The settings are wrong:"]
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        variable = ENVIRONMENT_PREFIX + "__".join(str(part) for part in problem["loc"]).upper()
        lines.append(f"  {path}: {problem['msg'].removeprefix('Value error, ')} (environment: {variable})")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
