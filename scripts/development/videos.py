# SPDX-License-Identifier: AGPL-3.0-or-later
"""A video of a real fixed camera, taken out of a Debian package, which is neither installed nor run."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from .repository import cache_directory
from .samples import SampleUnavailable

PACKAGE = "opencv-doc"
MEMBER = "usr/share/doc/opencv-doc/examples/data/vtest.avi"
SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"


def square_video() -> Path:
    """Return `vtest.avi`: 795 pictures of 768 x 576 pixels, ten a second: people on a square, two parked vehicles.

    It is fetched once with apt-get, for which nobody has to be root. Raises SampleUnavailable.
    """
    kept = cache_directory() / "samples" / Path(MEMBER).name
    installed = Path("/") / MEMBER
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            found = Path(folder) / kept.name
            found.write_bytes(installed.read_bytes() if installed.exists() else _downloaded(Path(folder)))
            if hashlib.sha256(found.read_bytes()).hexdigest() != SHA256:
                raise SampleUnavailable(f"{MEMBER} of {PACKAGE} is not the video that was expected.")
            found.replace(kept)
    return kept


def _downloaded(folder: Path) -> bytes:
    missing = [name for name in ("apt-get", "dpkg-deb", "tar") if shutil.which(name) is None]
    if missing:
        raise SampleUnavailable(
            f"The video of the Debian package {PACKAGE} is missing, and so is {' and '.join(missing)}. "
            f"Put {Path(MEMBER).name} of that package into {cache_directory() / 'samples'}."
        )
    # The user of the sandbox that apt drops its rights to may not write here.
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", PACKAGE]
    if _run(download, folder).returncode:
        _run(["apt-get", "-qq", "update"], folder)
        if (result := _run(download, folder)).returncode:
            raise SampleUnavailable(
                f"The Debian package {PACKAGE} could not be downloaded:\\n{result.stderr.decode().strip()}"
            )
    package = next(folder.glob(f"{PACKAGE}_*.deb"))
    unpack = f'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" ./{MEMBER}'
    result = _run(["sh", "-c", unpack, "sh", str(package), str(folder)], folder)
    if not (folder / MEMBER).exists():
        raise SampleUnavailable(f"{MEMBER} could not be unpacked:\\n{result.stderr.decode().strip()}")
    return (folder / MEMBER).read_bytes()


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=300)
