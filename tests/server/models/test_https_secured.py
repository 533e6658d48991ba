# SPDX-License-Identifier: AGPL-3.0-or-later
"""Downloads from servers with TLS, and the ways out of it."""

import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inference_server.models.digest import silent
from inference_server.models.errors import SourceError
from inference_server.models.https import Expected, fetch_https
from tests.server.models.file_server import FileServer

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1, with its key, that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, form, no = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = tmp_path / "certificate.pem"
    file.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, form, no))
    return file


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the certificate."""
    context = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", context)


class Secured:
    """Serves the file with TLS, and redirects to wherever it is told."""

    def __init__(self) -> None:
        self.target = ""
        app = web.Application()
        app.router.add_get("/file", self._file)
        app.router.add_get("/elsewhere", self._elsewhere)
        self.server = TestServer(app, scheme="https")

    def url(self, path: str) -> str:
        return str(self.server.make_url(path))

    async def _file(self, _request: web.Request) -> web.Response:
        return web.Response(body=CONTENT)

    async def _elsewhere(self, _request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": self.target})


@pytest.fixture
async def secured(certificate: Path) -> AsyncIterator[Secured]:
    """A server with the certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    made = Secured()
    await made.server.start_server(ssl=context)
    yield made
    await made.server.close()


async def test_a_certificate_that_nobody_vouches_for_is_refused(secured: Secured, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"the certificate of 127\.0\.0\.1 is not trusted"):
        await fetch_https(secured.url("/file"), tmp_path / "part", Expected(len(CONTENT)), silent)
    assert not (tmp_path / "part").exists()


@pytest.mark.usefixtures("trusted")
async def test_a_way_out_of_tls_is_refused(secured: Secured, tmp_path: Path) -> None:
    async with FileServer(CONTENT) as plain:
        secured.target = plain.url()
        with pytest.raises(SourceError, match="redirects from https to http, which is refused"):
            await fetch_https(secured.url("/elsewhere"), tmp_path / "part", Expected(len(CONTENT)), silent)
        assert plain.ranges == []


@pytest.mark.usefixtures("trusted")
async def test_the_servers_of_a_hub_may_send_to_each_other(secured: Secured, tmp_path: Path) -> None:
    part = tmp_path / "part"
    secured.target = secured.url("/file")
    await fetch_https(secured.url("/elsewhere"), part, Expected(len(CONTENT)), silent)
    assert part.read_bytes() == CONTENT
