# SPDX-License-Identifier: AGPL-3.0-or-later
"""``scripts/develop``: everything running on this machine, with cameras that see something."""

import argparse
import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from inference_server.core.camera import camera_id, camera_name

from . import dashboard, demo_cameras, samples
from .connect import connect
from .home_assistant import HomeAssistant
from .home_assistant_client import HomeAssistantError
from .inference_server import InferenceServer
from .process import Child, ProcessEnded, port_is_free
from .repository import REPOSITORY


class CannotStart(Exception):
    """Something the user can put right."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    port: int
    server_port: int
    pictures: Path | None
    home_assistant: bool
    data: Path
    reset: bool

    @property
    def cameras(self) -> Path:
        """The folder that holds one folder per camera."""
        return self.pictures or self.data / "cameras"


def main() -> int:
    """Run until Ctrl-C; the exit code says whether that was the reason."""
    try:
        return asyncio.run(_until_stopped(parse_options()))
    except (CannotStart, HomeAssistantError, ProcessEnded, samples.SampleUnavailable) as err:
        print(f"\n{err}", file=sys.stderr)
        return 1


def parse_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/develop",
        description="Starts the inference server, Home Assistant with the integration, and three demo cameras.",
    )
    parser.add_argument("--port", type=int, default=8123, help="Home Assistant's port (default 8123)")
    parser.add_argument("--server-port", type=int, default=8000, help="the inference server's port (default 8000)")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="a folder with one folder per camera, instead of the demo cameras"
    )
    parser.add_argument("--no-ha", dest="home_assistant", action="store_false", help="the inference server alone")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", default=REPOSITORY / ".develop", help="where everything is kept (.develop)"
    )
    parser.add_argument("--reset", action="store_true", help="begin anew: forget the data of earlier runs")
    options = parser.parse_args()
    return Options(
        options.port,
        options.server_port,
        options.pictures and options.pictures.resolve(),
        options.home_assistant,
        options.data.resolve(),
        options.reset,
    )


async def _until_stopped(options: Options) -> int:
    task = asyncio.create_task(develop(options))
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            task.cancel()
            _say_goodbye("\nStopping ...")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    with suppress(asyncio.CancelledError):
        await task
    _say_goodbye("Stopped.")
    return 0


def _say_goodbye(text: str) -> None:
    """Print, also when whoever read it has gone: a closed terminal, or the `tee` that Ctrl-C ended too."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - it lasts as long as the process


async def develop(options: Options) -> None:
    """Start everything in order and watch it; what was started is stopped in the opposite order."""
    _check(options)
    server = InferenceServer(options.data / "server", port=options.server_port, watch_root=options.cameras)
    home = HomeAssistant(options.data / "home-assistant", port=options.port)
    children = [server.process]
    if options.pictures is None:
        await asyncio.to_thread(samples.fetch)
    await server.pull_models()
    async with AsyncExitStack() as stack:
        await _start("the inference server", server.start, server.stop, stack)
        if options.home_assistant:
            children.append(home.process)
            await _start("Home Assistant", home.start, home.stop, stack)
            async with home.client() as client:
                print("Adding the integration ...", flush=True)
                await connect(client, server)
                await dashboard.show(client, _cameras(options))
        watch = [asyncio.ensure_future(_watch(child)) for child in children]
        if options.pictures is None:
            watch.append(asyncio.ensure_future(demo_cameras.run(options.cameras)))
        stack.callback(lambda: [task.cancel() for task in watch])
        print(welcome(options, server, home), flush=True)
        _show_logs_on_enter(children, stack)
        await asyncio.gather(*watch)


def _cameras(options: Options) -> dict[str, str]:
    """The ids and names of the cameras whose folders are there, or will be."""
    folders = list(demo_cameras.SCENES)
    if options.pictures:
        found = options.pictures.iterdir()
        folders = sorted(path.name for path in found if path.is_dir() and not path.name.startswith("."))
    return {camera_id(folder): camera_name(folder) for folder in folders}


def _check(options: Options) -> None:
    wanted = {"--server-port": options.server_port}
    if options.home_assistant:
        wanted["--port"] = options.port
    for flag, port in wanted.items():
        if not port_is_free(port):
            raise CannotStart(f"Port {port} is taken. Choose another one with {flag}.")
    if options.pictures and not options.pictures.is_dir():
        raise CannotStart(f"--pictures: {options.pictures} is not a folder.")
    if options.reset:
        for name in ("server", "home-assistant", "cameras"):
            shutil.rmtree(options.data / name, ignore_errors=True)
            (options.data / f"{name}.log").unlink(missing_ok=True)


async def _start(
    name: str, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]], stack: AsyncExitStack
) -> None:
    print(f"Starting {name} ...", flush=True)
    stack.push_async_callback(stop)
    await start()


async def _watch(child: Child) -> None:
    await child.wait()
    raise ProcessEnded(child.obituary())


def _show_logs_on_enter(children: list[Child], stack: AsyncExitStack) -> None:
    if not sys.stdin.isatty():
        return

    def show() -> None:
        sys.stdin.readline()
        for child in children:
            print(f"\n{child.name}, the end of {child.log}:\n{child.tail()}")

    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, show)
    stack.callback(loop.remove_reader, sys.stdin)


def welcome(options: Options, server: InferenceServer, home: HomeAssistant) -> str:
    """What the user needs to know now, in a box."""
    lines = [f"Inference server   {server.url}"]
    if options.home_assistant:
        account = home.account
        lines = [
            f"Home Assistant     {home.url}/{dashboard.PATH}",
            f"Log in as          {account.username}, password {account.password}",
            *lines,
        ]
    lines += [
        f"Cameras            {options.cameras}/NAME",
        "                   drop JPEG or PNG files there; a new folder is a new camera",
        f"Logs               {options.data}/*.log; Enter shows their ends",
        "Stop               Ctrl-C",
    ]
    width = max(map(len, lines))
    body = (f"│ {line:<{width}} │" for line in lines)
    return "\n".join(["", f"╭{'─' * (width + 2)}╮", *body, f"╰{'─' * (width + 2)}╯", ""])


if __name__ == "__main__":
    sys.exit(main())
