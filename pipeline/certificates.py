"""Whose signature a clip carries: the operator's certificate, or one that this installation made for itself.

An operator gives PEM, as files or as text (a Space has secrets, not files): `TETE_C2PA_CERTIFICATE`, the chain from the
signing certificate up, and `TETE_C2PA_KEY`, its private key without a password. Where none are given, an authority and
a certificate that say in their subject that they are self-made are kept in the user's data folder, readable by their
owner alone. They name nobody, and prove only which clips come from one installation; the authority's own key is thrown
away at once, so that it cannot issue another certificate.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.folders import data_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, CertificateBuilder, KeyUsage, Name

CERTIFICATE, KEY = "TETE_C2PA_CERTIFICATE", "TETE_C2PA_KEY"
"""Environment variables with the operator's files, or the PEM text itself."""

SELF_MADE = "Self-made certificate, names nobody"
"""Organisation in the subject of certificates that installations make for themselves."""

_FILE = "self-made-certificate.pem"
_YEARS = 30  # without a time-stamp, a clip's signature is good for as long as its certificate
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Credentials:
    """What a clip is signed with.

    Attributes:
        chain: certificates as PEM, the signing one first.
        key: the signing certificate's private key, PKCS#8 as PEM.
        algorithm: one of C2PA's (specification 2.1, §13.2.1), as `c2pa.C2paSigningAlg` names them.
    """

    chain: str
    key: str
    algorithm: str


@dataclass(frozen=True)
class Identity:
    """Whom this installation knows: itself, or its operator.

    Attributes:
        anchor: the chain's last certificate as PEM; it vouches for the first.
        serial: the signing certificate's serial number, which its authority gives only once.
        self_made: whether the certificate was made by this installation.
    """

    anchor: str
    serial: int
    self_made: bool


def find_credentials() -> Credentials:
    """The operator's where they are named, else this installation's own, which are made when first needed.

    Raises:
        InputError: if the named files cannot be used, or none can be made.
    """
    certificate, key = os.environ.get(CERTIFICATE), os.environ.get(KEY)
    if bool(certificate) != bool(key):
        raise InputError(f"{CERTIFICATE} and {KEY} belong together; set both, or neither.")
    if certificate and key:
        return _parse(_read(certificate, CERTIFICATE), _read(key, KEY), _name(certificate))
    return _self_made()


def known_identities() -> list[Identity]:
    """The operator's and this installation's own, as far as there are any; nothing is made for it."""
    found = []
    for given, self_made in ((os.environ.get(CERTIFICATE), False), (str(data_folder() / _FILE), True)):
        with contextlib.suppress(OSError, ValueError):  # an `InputError` too
            if given:
                found.append(_identity(_read(given, CERTIFICATE), self_made))
    return found


def _identity(chain: bytes, self_made: bool) -> Identity:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    certificates = x509.load_pem_x509_certificates(chain)
    anchor = certificates[-1].public_bytes(Encoding.PEM).decode()
    return Identity(anchor, certificates[0].serial_number, self_made)


def _read(given: str, variable: str) -> bytes:
    """The PEM text that is given, or that the named file holds."""
    if _is_text(given):
        return given.encode()
    try:
        return Path(given).read_bytes()
    except OSError as error:
        raise InputError(f"{variable} names {given}, which cannot be read; give a PEM file.") from error


def _is_text(given: str) -> bool:
    return given.lstrip().startswith("-----BEGIN")


def _name(given: str) -> str:
    return CERTIFICATE if _is_text(given) else given


def _parse(chain: bytes, key: bytes, name: str) -> Credentials:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    pem = serialization.Encoding.PEM
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        private = serialization.load_pem_private_key(key, None)
        own = private.public_key()
        fits = own == certificates[0].public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{name} and its key cannot be used; give PEM files, the key without a password.") from error
    if not fits:
        raise InputError(f"The first certificate in {name} does not belong to the key; put the signing one first.")
    return Credentials(
        chain="".join(one.public_bytes(pem).decode() for one in certificates),
        key=private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
        algorithm=_algorithm(private, name),
    )


def _algorithm(private: object, name: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey):
        algorithm = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}.get(private.curve.name)
    else:
        algorithm = {ed25519.Ed25519PrivateKey: "ED25519"}.get(type(private))
        algorithm = "PS256" if isinstance(private, rsa.RSAPrivateKey) else algorithm
    if algorithm is None:
        raise InputError(f"The key of {name} is of a kind that C2PA does not sign with; use P-256, Ed25519 or RSA.")
    return algorithm


# --- made by this installation --------------------------------------------------------------------------------------


def _self_made() -> Credentials:
    path = data_folder() / _FILE
    now = datetime.datetime.now(datetime.timezone.utc)
    kept = _kept(path, now)
    if kept is not None:
        return kept
    made = _make(now)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _keep(path, made)
    except OSError as error:
        raise InputError(
            f"A certificate for signing cannot be kept in {path.parent}; set TETE_DATA to a folder that can be written."
        ) from error
    return _kept(path, now) or _parse(made, made, str(path))


def _kept(path: Path, now: datetime.datetime) -> Credentials | None:
    """What an earlier run has made; None if there is nothing that can still be used."""
    from cryptography import x509

    try:
        content = path.read_bytes()
        if os.name == "posix" and path.stat().st_mode & 0o077:
            path.chmod(0o600)
        credentials = _parse(content, content, str(path))
        until = x509.load_pem_x509_certificate(content).not_valid_after_utc
    except (OSError, InputError):
        return None
    return credentials if now + _DAY < until else None


def _keep(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read; of several processes that do so at once, the first wins."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        try:
            os.link(part, path)
        except FileExistsError:
            if _kept(path, datetime.datetime.now(datetime.timezone.utc)) is None:
                os.replace(part, path)  # expired or damaged
        except OSError:  # a file system without links
            os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _make(now: datetime.datetime) -> bytes:
    """Certificate, authority and key in one PEM text; C2PA wants a certificate that another one has issued."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    identifier = uuid.uuid4().hex[:8]
    authority_name = _subject(f"Tête-à-tête installation {identifier}, authority")
    authority = _begin(authority_name, authority_name, authority_key, now)
    authority = authority.add_extension(x509.BasicConstraints(True, 0), True)
    authority = authority.add_extension(_usage(signs_certificates=True), True)
    signer = _begin(_subject(f"Tête-à-tête installation {identifier}"), authority_name, key, now)
    signer = signer.add_extension(x509.BasicConstraints(False, None), True)
    signer = signer.add_extension(_usage(signs_certificates=False), True)
    # The purpose that every C2PA validator knows (specification 2.1, §14.5.1).
    signer = signer.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    signer = signer.add_extension(issuer, False)

    def signed(builder: CertificateBuilder) -> Certificate:
        return builder.sign(authority_key, hashes.SHA256())

    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return signed(signer).public_bytes(pem) + signed(authority).public_bytes(pem) + secret


def _subject(common_name: str) -> Name:
    from cryptography import x509

    names = {x509.NameOID.ORGANIZATION_NAME: SELF_MADE, x509.NameOID.COMMON_NAME: common_name}
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in names.items()])


def _begin(subject: Name, issuer: Name, key: EllipticCurvePrivateKey, now: datetime.datetime) -> CertificateBuilder:
    from cryptography import x509

    public = key.public_key()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)  # to the day: the minute is nobody's business
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - _DAY)
        .not_valid_after(today + _YEARS * 365 * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
    )


def _usage(signs_certificates: bool) -> KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
