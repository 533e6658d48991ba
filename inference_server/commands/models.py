# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi models`."""

import argparse
import sys

from inference_server.commands.command import Commands
from inference_server.hardware.detector import detector_of
from inference_server.models.store import ModelStore
from inference_server.settings import Settings


def register(commands: Commands) -> None:
    """Add the commands."""
    models = commands.add_parser("models", help="weights: list, pull, verify").add_subparsers(required=True)
    models.add_parser("list", help="every model and whether it is installed").set_defaults(command=_list)
    pull = models.add_parser("pull", help="install a model, or the detector that the settings mean")
    pull.add_argument("model", nargs="?")
    pull.set_defaults(command=_pull)
    verify = models.add_parser("verify", help="check a model's files")
    verify.add_argument("model")
    verify.set_defaults(command=_verify)


async def _list(_options: argparse.Namespace, settings: Settings) -> int:
    for state in ModelStore(settings.models_folder).states():
        where = state.path or "not installed"
        print(f"{state.entry.id:14} {state.entry.name:14} {state.entry.licence:24} {where}")
    return 0


async def _pull(options: argparse.Namespace, settings: Settings) -> int:
    store = ModelStore(settings.models_folder)
    if options.model:
        print(await store.pull(options.model, _progress))
        return 0
    resolved = await detector_of(settings)
    if resolved.message:
        print(resolved.message, file=sys.stderr)
    print(resolved.path)
    return 0


async def _verify(options: argparse.Namespace, settings: Settings) -> int:
    checks = ModelStore(settings.models_folder).verify(options.model)
    if not checks:
        print(f"{options.model} is not installed: run hsi models pull {options.model}.", file=sys.stderr)
    for check in checks:
        print(f"{'ok' if check.ok else 'WRONG':6} {check.path}: {check.detail}")
    return 0 if checks and all(check.ok for check in checks) else 1


def _progress(done: int, total: int | None) -> None:
    share = f"{done / total:4.0%}" if total else f"{done / 1e6:.1f} MB"
    print(f"\r{share}", end="\n" if done == total else "", file=sys.stderr, flush=True)
