# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi models`."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from inference_server.commands import quantise
from inference_server.commands.command import Commands
from inference_server.commands.pull_display import PullDisplay
from inference_server.core.hardware import TierName
from inference_server.core.model import Capability, ModelProblem, ModelUnavailable
from inference_server.detection.backends.trial import detector_trial
from inference_server.hardware.detector import detector_of, tier_of, wanted_detectors
from inference_server.hardware.tiers import TIERS
from inference_server.models.catalogue import Conversion, ModelEntry
from inference_server.models.importing import import_file
from inference_server.models.quantised import NotQuantised
from inference_server.models.store import ModelState, ModelStore
from inference_server.settings import Settings

AUTO = "auto"
"""The tier of this machine."""


def register(commands: Commands) -> None:
    """Add the commands."""
    models = commands.add_parser("models", help="weights: list, pull, verify, remove, import").add_subparsers(
        required=True
    )
    listing = models.add_parser("list", help="every model: what it is for, its size, memory, licence, and where it is")
    listing.add_argument("--capability", type=Capability, choices=list(Capability), help="of this capability only")
    listing.set_defaults(command=_list)
    pull = models.add_parser("pull", help="install models, or the detector that the settings mean")
    pull.add_argument("models", nargs="*", metavar="MODEL")
    pull.add_argument(
        "--all-for",
        choices=[*Capability, AUTO, *TierName],
        metavar="SET",
        help=f"every model of a capability ({', '.join(Capability)}) or of a hardware tier ({', '.join(TierName)}; "
        "auto is that of this machine)",
    )
    pull.add_argument(
        "--accept-unpinned", action="store_true", help="take files too of which nobody has published a digest"
    )
    pull.add_argument("--yes", action="store_true", help="do not ask")
    pull.set_defaults(command=_pull)
    verify = models.add_parser("verify", help="check the files of a model, or of all that are installed")
    verify.add_argument("model", nargs="?")
    verify.set_defaults(command=_verify)
    remove = models.add_parser("remove", help="delete the files of a model")
    remove.add_argument("model")
    remove.add_argument("--force", action="store_true", help="even if it is in use, or a file of your own")
    remove.set_defaults(command=_remove)
    quantise.register(models)
    taken = models.add_parser("import", help="take in a file: one of the catalogue, or a detector of your own")
    taken.add_argument("file", type=Path)
    taken.add_argument("--as", dest="model", metavar="ID", help="which model it is to be")
    taken.set_defaults(command=_import)


def _store(settings: Settings) -> ModelStore:
    return ModelStore(settings.models_folder, offline=settings.models.offline_folder)


async def _list(options: argparse.Namespace, settings: Settings) -> int:
    store = _store(settings)
    states = [
        state for state in await asyncio.to_thread(store.states) if options.capability in {None, state.entry.capability}
    ]
    print(_row("MODEL", "FOR", "SIZE", "MEMORY", "GPU MEMORY", "LICENCE", "WHERE"))
    for state in states:
        print(_described(state))
        if form := await asyncio.to_thread(_described_form, store, state):
            print(f"  {form}")
    return 0


def _described_form(store: ModelStore, state: ModelState) -> str | None:
    """Return what is to be told of a model's quantised form, if somebody had one made."""
    report = store.quantised.report(state.entry.id)
    if report is None or state.path is None:
        return None
    try:
        return store.quantised.current(state.entry.id, state.path).summary
    except (NotQuantised, OSError) as error:
        return f"int8 is not used: {error}"


def _described(state: ModelState) -> str:
    entry = state.entry
    about = "" if all(file.size_exact for file in entry.files) else "~"
    memory = f"{entry.memory.processor.mib:,} MiB {entry.memory.processor.basis}"
    on_gpu = f"{entry.memory.gpu.mib:,} MiB {entry.memory.gpu.basis}"
    licence = entry.licence.name + ("" if entry.licence.commercial_use else " (not commercial)")
    missing = "not installed" if entry.pinned else "not installed, unpinned"
    where = str(state.path) if state.path else missing
    return _row(entry.id, entry.capability, f"{about}{entry.size / 1e6:,.1f} MB", memory, on_gpu, licence, where)


def _row(*cells: str) -> str:
    widths = (24, 17, 13, 21, 21, 46, 0)
    return " ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))


async def _pull(options: argparse.Namespace, settings: Settings) -> int:
    store = _store(settings)
    if not options.models and options.all_for is None:
        return await _pull_detector(settings)
    entries = _wanted(store, [*options.models, *await _set_of(options.all_for, store, settings)])
    refused = [] if options.accept_unpinned else [entry for entry in entries if not entry.pinned]
    missing = [entry for entry in entries if not store.installed(entry.id) and entry not in refused]
    if not _agreed(missing, store, ask=not options.yes):
        return 1
    try:
        return await _pull_all(store, entries, parallel=settings.models.parallel, accept=options.accept_unpinned)
    except asyncio.CancelledError:
        print("Interrupted. What was downloaded is kept; the same command goes on after it.", file=sys.stderr)
        raise


async def _pull_detector(settings: Settings) -> int:
    resolved = await detector_of(settings)
    if resolved.message:
        print(resolved.message, file=sys.stderr)
    print(resolved.path)
    return 0


async def _set_of(name: str | None, store: ModelStore, settings: Settings) -> Sequence[str]:
    """Return the ids of the models of a capability or a tier; none without a name."""
    if name is None:
        return ()
    if name in list(Capability):
        return [entry.id for entry in store.entries if entry.capability == name]
    tier = await tier_of(settings.hardware) if name == AUTO else TIERS[TierName(name)]
    print(f"The tier {tier.name}: {', '.join(tier.models)}", file=sys.stderr)
    return tier.models


def _wanted(store: ModelStore, model_ids: Sequence[str]) -> list[ModelEntry]:
    """Return the entries that are meant, each once. Raises ModelUnavailable for an unknown id."""
    return [store.entry(model_id) for model_id in dict.fromkeys(model_ids)]


def _agreed(entries: Sequence[ModelEntry], store: ModelStore, *, ask: bool) -> bool:
    """Show what is about to be downloaded under which licences; on a terminal ask whether it may be.

    Raises ModelUnavailable where there is no room for all of it.
    """
    for entry in entries:
        limits = "" if entry.licence.commercial_use else ", which forbids commercial use"
        print(f"{entry.name}: {entry.size / 1e6:,.1f} MB, licence {entry.licence.name}{limits}", file=sys.stderr)
    if entries:
        needed, free = store.check_room(*(entry.id for entry in entries)), store.free()
        size = sum(entry.size for entry in entries)
        told = f"{size / 1e6:,.1f} MB to download; {needed / 1e6:,.1f} MB of disk in {store.folder}"
        print(f"{told}, where {free / 1e6:,.1f} MB are free", file=sys.stderr)
    if not entries or not ask or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print("Download? [Y/n] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"", "y", "yes"}


async def _pull_all(store: ModelStore, entries: Sequence[ModelEntry], *, parallel: int, accept: bool) -> int:
    display = PullDisplay([entry.id for entry in entries], sys.stderr)
    turns = asyncio.Semaphore(parallel)

    async def pull(entry: ModelEntry) -> Path | ModelUnavailable:
        async with turns:
            try:
                path = await store.pull(
                    entry.id, display.progress(entry.id), accept_unpinned=accept, steps=display.steps(entry.id)
                )
            except ModelUnavailable as error:
                display.finish(entry.id, "failed")
                return error
            display.finish(entry.id, "done")
            return path

    results = await asyncio.gather(*map(pull, entries))
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, ModelUnavailable):
            print(f"{result}. {result.remedy}", file=sys.stderr)
        else:
            print(result)
            _show_noted(store, entry)
    return 1 if any(isinstance(result, ModelUnavailable) for result in results) else 0


def _show_noted(store: ModelStore, entry: ModelEntry) -> None:
    """Show the digests that the files of a model without published ones are held to from now on."""
    for file in store.summary(entry, in_use=False, pull=None).files:
        if not file.pinned and file.sha256:
            print(f"{file.sha256}  {file.name}", file=sys.stderr)


async def _verify(options: argparse.Namespace, settings: Settings) -> int:
    store = _store(settings)
    wanted = [options.model] if options.model else [entry.id for entry in store.entries]
    checks = [check for model in wanted for check in await asyncio.to_thread(store.verify, model)]
    if not checks and options.model:
        print(f"{options.model} is not installed: run hsi models pull {options.model}.", file=sys.stderr)
    for check in checks:
        print(f"{'ok' if check.ok else 'WRONG':6} {check.path}: {check.detail}")
    return 0 if all(check.ok for check in checks) and (checks or not options.model) else 1


async def _remove(options: argparse.Namespace, settings: Settings) -> int:
    store = _store(settings)
    if options.model == await _in_use(store, settings) and not options.force:
        raise ModelUnavailable(
            f"{options.model} is the detector that the settings mean",
            "Choose another one in `detector.model` first, or say --force.",
            ModelProblem.IN_USE,
        )
    freed = await store.remove(options.model, own=options.force)
    print(f"{options.model} is removed; that freed {freed / 1e6:,.1f} MB.")
    return 0


async def _in_use(store: ModelStore, settings: Settings) -> str | None:
    """Return the model that a server with these settings loads."""
    wanted = wanted_detectors(settings.detector, await tier_of(settings.hardware))
    return next((name for name in wanted if store.installed(name)), None)


async def _import(options: argparse.Namespace, settings: Settings) -> int:
    store = _store(settings)
    model_id, path = await import_file(store, options.file, options.model, detector_trial(settings.detector))
    print(f"{options.file.name} is now {path} of the model {model_id}.")
    if path.suffix != ".onnx" and store.entry(model_id).conversion is not Conversion.NONE:
        print(await store.pull(model_id))
    return 0
