# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi serve`."""

import argparse

from inference_server.app import serve
from inference_server.commands.command import Commands
from inference_server.core.worker import Role
from inference_server.settings import Settings


def register(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="watch cameras and serve until stopped")
    parser.add_argument(
        "--role",
        type=Role,
        choices=list(Role),
        default=Role.ALL,
        help="all: everything (default); pipeline: a further worker that judges what another process admits; "
        "detector: the detector alone, for servers elsewhere; analyst: the language model alone, likewise",
    )
    parser.set_defaults(command=_serve)


async def _serve(options: argparse.Namespace, settings: Settings) -> int:
    await serve(settings, options.role)
    return 0
