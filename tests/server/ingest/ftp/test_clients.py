# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real clients as processes: curl, lftp and ncftp."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from inference_server.settings import FtpSettings
from tests.support.ftp import PASSWORD, PATIENCE_SECONDS, FtpHouse
from tests.support.pictures import jpeg

PICTURE = jpeg(1, (640, 480))
LARGE = Random(1).randbytes(2_000_000)
SLOW = 200_000

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_lftp = pytest.mark.skipif(shutil.which("lftp") is None, reason="lftp is not installed")
needs_ncftp = pytest.mark.skipif(shutil.which("ncftpput") is None, reason="ncftpput is not installed")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture to upload."""
    file = tmp_path / "1.jpg"
    file.write_bytes(PICTURE)
    return file


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file whose upload can be interrupted."""
    file = tmp_path / "large.jpg"
    file.write_bytes(LARGE)
    return file


@pytest.fixture
def safe(tmp_path: Path) -> Iterator[FtpHouse]:
    """A server that takes logins over TLS only."""
    with FtpHouse(tmp_path, settings=FtpSettings(tls="required")).running() as house:
        house.account("front_door")
        yield house


def run(*command: str | Path, status: int = 0) -> str:
    """Run a client to its end and return what it said."""
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def curl(house: FtpHouse, file: Path, *options: str, to: str = "", password: str = PASSWORD, status: int = 0) -> str:
    address = f"ftp://127.0.0.1:{house.port}/{to}"
    user = f"front_door:{password}"
    return run("curl", "-sS", "--max-time", "20", "-u", user, "-T", file, *options, address, status=status)


def slow_curl(house: FtpHouse, file: Path) -> tuple[str, ...]:
    address = f"ftp://127.0.0.1:{house.port}/"
    return ("curl", "-sS", "--limit-rate", str(SLOW), "-u", f"front_door:{PASSWORD}", "-T", str(file), address)


def lftp(house: FtpHouse, *commands: str, status: int = 0) -> str:
    opening = (
        "set net:max-retries 1; set net:timeout 10; set ssl:verify-certificate no; set cmd:fail-exit yes;"
        "set net:reconnect-interval-base 1"
    )
    where = f'open -u front_door,"{PASSWORD}" -p {house.port} 127.0.0.1'
    return run("lftp", "-c", "; ".join((opening, where, *commands)), status=status)


def interrupt(house: FtpHouse, name: str, *command: str | Path) -> int:
    """Start a client, kill it in the middle of its upload, and return how much of it is kept."""
    arguments = [str(part) for part in command]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        house.until(lambda: house.part(name).exists() and house.part(name).stat().st_size > 50_000)
        client.send_signal(signal.SIGKILL)
        client.wait(PATIENCE_SECONDS)
    other = house.client(tls=house.settings.tls == "required")
    house.until(lambda: len(other.nlst()) == 1)
    assert not (house.camera() / name).exists()
    return house.part(name).stat().st_size


@needs_curl
@pytest.mark.parametrize("options", [(), ("--disable-epsv",), ("--ftp-port", "-"), ("--disable-eprt", "-P", "-")])
def test_curl_uploads_passive_and_active(house: FtpHouse, picture: Path, options: tuple[str, ...]) -> None:
    curl(house, picture, *options)
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


@needs_curl
def test_curl_makes_folders_by_date(house: FtpHouse, picture: Path) -> None:
    curl(house, picture, "--ftp-create-dirs", to="2026/11/23/")
    assert (house.camera() / "2026/11/23/1.jpg").read_bytes() == PICTURE


@needs_curl
def test_curl_is_told_of_a_wrong_password_and_a_full_disk(house: FtpHouse, picture: Path) -> None:
    assert "530" in curl(house, picture, password="wrong password", status=67)
    house.backpressure.close("disk", "The disk is full: free some space.")
    assert "452" in curl(house, picture, status=25)


@needs_curl
def test_curl_resumes_what_was_cut_off(house: FtpHouse, large: Path) -> None:
    kept = interrupt(house, "large.jpg", *slow_curl(house, large))
    assert 0 < kept < len(LARGE)
    curl(house, large, "-C", "-")
    assert (house.camera() / "large.jpg").read_bytes() == LARGE


@needs_curl
def test_curl_over_tls(safe: FtpHouse, picture: Path) -> None:
    assert "530" in curl(safe, picture, status=67)
    curl(safe, picture, "--ssl-reqd", "-k")
    assert (safe.camera() / "1.jpg").read_bytes() == PICTURE


@needs_curl
def test_curl_resumes_over_tls(safe: FtpHouse, large: Path) -> None:
    kept = interrupt(safe, "large.jpg", *slow_curl(safe, large), "-k", "--ssl-reqd")
    assert 0 < kept < len(LARGE)
    curl(safe, large, "--ssl-reqd", "-k", "-C", "-")
    assert (safe.camera() / "large.jpg").read_bytes() == LARGE


@needs_lftp
@pytest.mark.parametrize("mode", ["yes", "no"])
def test_lftp_uploads_passive_and_active(house: FtpHouse, picture: Path, mode: str) -> None:
    lftp(house, f"set ftp:passive-mode {mode}", f"put {picture}")
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


@needs_lftp
def test_lftp_keeps_the_time_of_the_file(house: FtpHouse, picture: Path) -> None:
    lftp(house, f"put {picture}")
    assert int((house.camera() / "1.jpg").stat().st_mtime) == int(picture.stat().st_mtime)


@needs_lftp
def test_lftp_mirrors_a_tree_of_folders(house: FtpHouse, tmp_path: Path) -> None:
    source = tmp_path / "tree" / "2026" / "11"
    source.mkdir(parents=True)
    for number in range(5):
        (source / f"{number}.jpg").write_bytes(jpeg(number))
    lftp(house, f"mirror -R --parallel=3 {tmp_path / 'tree'} /")
    assert len(list((house.camera() / "2026" / "11").glob("*.jpg"))) == 5


@needs_lftp
def test_lftp_uses_a_temporary_name_of_its_own(house: FtpHouse, picture: Path) -> None:
    lftp(house, "set xfer:use-temp-file yes", f"put {picture}")
    assert [path.name for path in house.camera().iterdir() if path.is_file()] == ["1.jpg"]


@needs_lftp
def test_lftp_resumes_what_was_cut_off(house: FtpHouse, large: Path) -> None:
    script = f"set net:limit-rate {SLOW}; open -u front_door,{PASSWORD!r} -p {house.port} 127.0.0.1; put {large}"
    kept = interrupt(house, "large.jpg", "lftp", "-c", script)
    assert 0 < kept < len(LARGE)
    lftp(house, f"put -c {large}")
    assert (house.camera() / "large.jpg").read_bytes() == LARGE


@needs_lftp
def test_lftp_over_tls(safe: FtpHouse, picture: Path, large: Path) -> None:
    lftp(safe, "set ftp:ssl-force yes", "set ftp:ssl-protect-data yes", f"put {picture}", f"put {large}")
    assert (safe.camera() / "1.jpg").read_bytes() == PICTURE
    assert (safe.camera() / "large.jpg").read_bytes() == LARGE


def ncftpput(house: FtpHouse, *arguments: str | Path, status: int = 0) -> str:
    login = ("-u", "front_door", "-p", PASSWORD, "-P", str(house.port))
    return run("ncftpput", "-V", "-t", "10", "-r", "1", *login, *arguments, status=status)


@needs_ncftp
@pytest.mark.parametrize("mode", ["-F", "-E"])
def test_ncftp_uploads_passive_and_active(house: FtpHouse, picture: Path, mode: str) -> None:
    ncftpput(house, mode, "127.0.0.1", "/", picture)
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE


@needs_ncftp
def test_ncftp_makes_the_folder_and_renames(house: FtpHouse, picture: Path) -> None:
    ncftpput(house, "-m", "-T", "unfinished.", "127.0.0.1", "2026/11", picture)
    assert [path.name for path in (house.camera() / "2026" / "11").iterdir()] == ["1.jpg"]


@needs_ncftp
def test_ncftp_appends(house: FtpHouse, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "end").mkdir()
    end = tmp_path / "end" / "1.jpg"
    end.write_bytes(b"and the end")
    ncftpput(house, "-A", "127.0.0.1", "/", picture)
    ncftpput(house, "-A", "127.0.0.1", "/", end)
    assert (house.camera() / "1.jpg").read_bytes() == PICTURE + b"and the end"
