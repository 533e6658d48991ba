# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi serve`."""

import argparse

from inference_server.app import serve
from inference_server.commands.command import Commands
from inference_server.settings import Settings


def register(commands: Commands) -> None:
    """Add the command."""
    commands.add_parser("serve", help="watch cameras and serve until stopped").set_defaults(command=_serve)


async def _serve(_options: argparse.Namespace, settings: Settings) -> int:
    await serve(settings)
    return 0
