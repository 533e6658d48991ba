# SPDX-License-Identifier: AGPL-3.0-or-later
"""FTPS: what is encrypted, with which certificate, and what is refused."""

import ftplib
import io
import socket
import ssl
import stat
import struct
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from OpenSSL import SSL

from inference_server.ingest.ftp import certificate
from inference_server.ingest.ftp.certificate import CertificateError, tls_context
from inference_server.observability.health import HealthState
from inference_server.settings import FtpSettings
from tests.support.ftp import PASSWORD, FtpHouse
from tests.support.home import START
from tests.support.pictures import jpeg

PICTURE = jpeg(1, (640, 480))


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of the server's own making."""
    file = tmp_path_factory.mktemp("tls") / "own.pem"
    certificate._make(file, START)
    return file


def encrypted(folder: Path, own: Path, tls: Literal["optional", "required"]) -> FtpHouse:
    return FtpHouse(folder, settings=FtpSettings(tls=tls, certificate_file=own))


def store(client: ftplib.FTP, name: str, content: bytes = PICTURE) -> str:
    return client.storbinary(f"STOR {name}", io.BytesIO(content))


def test_where_it_is_required_a_plain_login_is_told_what_to_do(tmp_path: Path, own: Path) -> None:
    with encrypted(tmp_path, own, "required").running() as house:
        house.account("front_door")
        with pytest.raises(ftplib.error_perm, match="530 Passwords are taken over TLS only: choose FTPS"):
            house.client()
        client = house.client(tls=True)
        assert store(client, "1.jpg").startswith("226")
        assert (house.camera() / "1.jpg").read_bytes() == PICTURE
        assert isinstance(client, ftplib.FTP_TLS)
        client.prot_c()
        with pytest.raises(ftplib.error_perm, match="SSL/TLS required on the data channel"):
            store(client, "2.jpg")


def test_where_it_is_optional_both_come_in(tmp_path: Path, own: Path) -> None:
    with encrypted(tmp_path, own, "optional").running() as house:
        house.account("front_door")
        assert store(house.client(), "1.jpg").startswith("226")
        assert store(house.client(tls=True), "2.jpg", PICTURE * 50).startswith("226")
        assert (house.camera() / "2.jpg").read_bytes() == PICTURE * 50


def test_where_it_is_off_nothing_is_promised(house: FtpHouse) -> None:
    client = house.connected()
    with pytest.raises(ftplib.error_perm, match="500"):
        client.sendcmd("AUTH TLS")
    client.login("front_door", PASSWORD)
    assert "TLS" not in client.sendcmd("FEAT")


def test_an_upload_over_tls_breaks_off_and_is_resumed(tmp_path: Path, own: Path) -> None:
    with encrypted(tmp_path, own, "required").running() as house:
        house.account("front_door")
        client = house.client(tls=True)
        client.voidcmd("TYPE I")
        data = client.transfercmd("STOR 1.jpg")
        data.sendall(PICTURE[:5000])
        house.until(lambda: house.part("1.jpg").exists() and house.part("1.jpg").stat().st_size == 5000)
        client.close()
        data.close()
        resuming = house.client(tls=True)
        resuming.voidcmd("TYPE I")
        house.until(lambda: resuming.size("1.jpg") == 5000)
        assert not (house.camera() / "1.jpg").exists()
        resuming.storbinary("STOR 1.jpg", io.BytesIO(PICTURE[5000:]), rest=5000)
        assert (house.camera() / "1.jpg").read_bytes() == PICTURE


def test_a_rate_limit_over_tls(tmp_path: Path, own: Path) -> None:
    settings = FtpSettings(tls="required", certificate_file=own, max_bytes_per_second=100_000)
    with FtpHouse(tmp_path, settings=settings).running() as house:
        house.account("front_door")
        assert store(house.client(tls=True), "1.jpg", b"x" * 300_000).startswith("226")
        assert (house.camera() / "1.jpg").stat().st_size == 300_000


def test_what_was_sent_before_tls_does_not_count_as_sent_over_it(tmp_path: Path, own: Path) -> None:
    with encrypted(tmp_path, own, "required").running() as house:
        house.account("front_door")
        with socket.create_connection(("127.0.0.1", house.port), 10) as plain:
            plain.recv(200)
            plain.sendall(b"AUTH TLS\r\nUSER front_door\r\nNOOP")
            assert plain.recv(200) == b"234 AUTH TLS successful.\r\n"
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(plain) as safe:
                safe.sendall(b"PASS x\r\n")
                assert safe.recv(200).startswith(b"503 Send USER before PASS")


def test_a_connection_over_tls_that_is_reset_completes_nothing(tmp_path: Path, own: Path) -> None:
    with encrypted(tmp_path, own, "required").running() as house:
        house.account("front_door")
        client = house.client(tls=True)
        client.voidcmd("TYPE I")
        data = client.transfercmd("STOR 1.jpg")
        data.sendall(PICTURE[:5000])
        house.until(lambda: house.part("1.jpg").exists() and house.part("1.jpg").stat().st_size == 5000)
        data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        data.close()
        with pytest.raises(ftplib.error_temp, match="426 The connection broke"):
            client.voidresp()
        assert not (house.camera() / "1.jpg").exists()
        assert client.size("1.jpg") == 5000


@pytest.mark.parametrize("version", [SSL.TLS1_1_VERSION, SSL.TLS1_3_VERSION])
def test_one_version_is_spoken_in_which_clients_have_nothing_to_read_after_an_upload(
    tmp_path: Path, own: Path, version: int
) -> None:
    with encrypted(tmp_path, own, "required").running() as house:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        with socket.create_connection(("127.0.0.1", house.port), 10) as plain:
            plain.recv(200)
            plain.sendall(b"AUTH TLS\r\n")
            plain.recv(200)
            with pytest.raises(SSL.Error):
                SSL.Connection(context, plain).do_handshake()


def test_the_servers_own_certificate_is_made_once_and_kept_secret(tmp_path: Path) -> None:
    file = tmp_path / "own.pem"
    assert tls_context(FtpSettings(), file, START) is not None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_bytes()
    made = x509.load_pem_x509_certificate(content)
    assert made.not_valid_before_utc < START < made.not_valid_after_utc - timedelta(days=3600)
    tls_context(FtpSettings(), file, START)
    assert file.read_bytes() == content


@pytest.mark.parametrize("years", [-1, 11])
def test_a_certificate_that_is_not_valid_now_is_made_anew(tmp_path: Path, own: Path, years: int) -> None:
    file = tmp_path / "own.pem"
    file.write_bytes(own.read_bytes())
    now = START + timedelta(days=366 * years)
    tls_context(FtpSettings(), file, now)
    assert x509.load_pem_x509_certificate(file.read_bytes()).not_valid_before_utc == now - timedelta(days=1)


def test_a_damaged_certificate_of_its_own_is_made_anew(tmp_path: Path, own: Path) -> None:
    file = tmp_path / "own.pem"
    for content in (b"", b"nonsense", own.read_bytes()[:500]):
        file.write_bytes(content)
        assert tls_context(FtpSettings(), file, START) is not None


def test_a_certificate_and_its_key_may_lie_in_two_files(tmp_path: Path, own: Path) -> None:
    key, _, chain = own.read_text().partition("-----BEGIN CERTIFICATE-----")
    (tmp_path / "key.pem").write_text(key)
    (tmp_path / "chain.pem").write_text(f"-----BEGIN CERTIFICATE-----{chain}")
    settings = FtpSettings(certificate_file=tmp_path / "chain.pem", key_file=tmp_path / "key.pem")
    assert tls_context(settings, tmp_path / "unused.pem", START) is not None
    assert not (tmp_path / "unused.pem").exists()


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, own: Path) -> None:
    with pytest.raises(CertificateError, match=r"missing\.pem cannot be read or written: No such file"):
        tls_context(FtpSettings(certificate_file=tmp_path / "missing.pem"), own, START)
    (tmp_path / "nonsense.pem").write_text("nonsense")
    with pytest.raises(CertificateError, match=r"nonsense\.pem .*no certificate and the key"):
        tls_context(FtpSettings(certificate_file=tmp_path / "nonsense.pem"), own, START)
    other = tmp_path / "other.pem"
    certificate._make(other, START)
    with pytest.raises(CertificateError, match="the key that belongs to it"):
        tls_context(FtpSettings(certificate_file=own, key_file=other), own, START)
    with pytest.raises(CertificateError, match=r"own\.part cannot be read or written"):
        tls_context(FtpSettings(), tmp_path / "no folder" / "own.pem", START)


def test_health_tells_of_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    settings = FtpSettings(tls="required", certificate_file=tmp_path / "missing.pem")
    with FtpHouse(tmp_path, settings=settings).running() as house:
        told = house.health.until(HealthState.DOWN)
        assert "missing.pem cannot be read" in (told.last_error or "")
        assert "ftp.certificate_file" in (told.remedy or "")
