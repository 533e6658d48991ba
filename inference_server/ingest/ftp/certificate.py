# SPDX-License-Identifier: AGPL-3.0-or-later
"""The certificate of the FTP server: the owner's, or one of its own making."""

import os
import socket
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from inference_server.settings import FtpSettings

YEARS = timedelta(days=3652)
KEY_BITS = 2048
"""RSA, which old cameras know too."""


class CertificateError(Exception):
    """The certificate cannot be used; the message says what to do."""


def tls_context(settings: FtpSettings, own: Path, now: datetime) -> SSL.Context | None:
    """Return what TLS needs, None when it is off. Makes the server's own certificate where the owner gave none.

    Raises CertificateError.
    """
    if settings.tls == "off":
        return None
    certificate = settings.certificate_file or own
    key = settings.key_file or certificate
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    # After a handshake of 1.3 session tickets are sent. A client that only uploads may close its data connection
    # without reading them: then the connection is reset, and the end of the picture is lost on the way.
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    try:
        if settings.certificate_file is None and not _is_valid(own, now):
            _make(own, now)
        for file in (certificate, key):
            file.read_bytes()  # OpenSSL's own errors name no file
        context.use_certificate_chain_file(str(certificate))
        context.use_privatekey_file(str(key))
        context.check_privatekey()
    except OSError as error:
        raise CertificateError(f"{error.filename} cannot be read or written: {error.strerror}.") from error
    except SSL.Error as error:
        raise CertificateError(
            f"{certificate} and {key} are no certificate and the key that belongs to it, in PEM."
        ) from error
    return context


def _is_valid(file: Path, now: datetime) -> bool:
    try:
        content = file.read_bytes()
        serialization.load_pem_private_key(content, None)
        certificate = x509.load_pem_x509_certificate(content)
    except (FileNotFoundError, ValueError, TypeError):
        return False
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _make(file: Path, now: datetime) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Home Security Intelligence")])
    hosts = sorted({"localhost", socket.gethostname()[:64]})
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # cameras' clocks are slow
        .not_valid_after(now + YEARS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    content = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    temporary = file.with_suffix(".part")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)
