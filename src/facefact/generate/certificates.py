"""Keys and certificates for signing pictures: an own authority made, and what the user gives checked.

Needs the package cryptography, which c2pa-python brings (extra `c2pa`); nothing here uses the network.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.types import UserError

if TYPE_CHECKING:
    from cryptography import x509

KEY, CHAIN, AUTHORITY, AUTHORITY_KEY = "key.pem", "chain.pem", "ca.pem", "ca-key.pem"
MISSING = "signing needs the package c2pa-python: pip install 'facefact[c2pa]'"
LIFE = {"authority": timedelta(days=3650), "leaf": timedelta(days=825)}
CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True)
class Credentials:
    """What signs. key, chain: PEM; the chain begins with the key's own certificate. algorithm: as C2PA names it. name:
    whose certificate it is."""

    key: bytes = field(repr=False)
    chain: bytes
    algorithm: str
    name: str


def signing_folder() -> Path:
    """$XDG_CONFIG_HOME/facefact/signing, or ~/.config/facefact/signing: where `facefact sign init` writes, and whose
    authority `facefact verify` trusts (it need not exist)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "facefact/signing"


def make_credentials(folder: Path, *, name: str) -> None:
    """Writes an own authority (ca.pem, ca-key.pem) and what signs pictures in its name (key.pem, chain.pem) into a
    folder; the keys for their owner alone (0600). UserError: one of them is there, or cannot be written."""
    if there := next((one for one in (KEY, CHAIN, AUTHORITY, AUTHORITY_KEY) if (folder / one).exists()), None):
        raise UserError(f"{folder / there} is already there: choose another --out, or remove what is in it")
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise UserError(MISSING) from None
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate(f"{name} authority", authority_key, None, authority_key)
    leaf = _certificate(name, key, authority, authority_key)
    files = {
        AUTHORITY_KEY: _private_pem(authority_key),
        AUTHORITY: _pem(authority),
        KEY: _private_pem(key),
        CHAIN: _pem(leaf) + _pem(authority),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            mode = 0o600 if file in (KEY, AUTHORITY_KEY) else 0o644
            with os.fdopen(os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
                opened.write(content)  # (never readable for others, not for a moment)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror or error}") from error


def _certificate(name: str, key: Any, issuer: x509.Certificate | None, issuer_key: Any) -> x509.Certificate:
    """As C2PA asks: an authority's without an issuer, else one that may sign and nothing more."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    now, top = datetime.now(timezone.utc), issuer is None
    usages = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    usage = x509.KeyUsage(**usages, decipher_only=False, digital_signature=not top, key_cert_sign=top, crl_sign=top)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + LIFE["authority" if top else "leaf"])
        .add_extension(x509.BasicConstraints(ca=top, path_length=0 if top else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not top:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _private_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def read_credentials(key: Path, chain: Path) -> Credentials:
    """What the two files hold, checked against each other. UserError: no such file, no unencrypted PEM key, a kind of
    key that C2PA does not sign with, a certificate of another key, a chain out of order, one that is not valid now."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise UserError(MISSING) from None
    key_pem, chain_pem = _bytes_of(key), _bytes_of(chain)
    try:
        private = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key} is no private key in PEM without a password") from error
    try:
        certificates = x509.load_pem_x509_certificates(chain_pem)
    except ValueError as error:
        raise UserError(f"{chain} holds no certificates in PEM") from error
    leaf = certificates[0]
    if leaf.public_key() != private.public_key():
        raise UserError(f"the first certificate of {chain} is not that of the key {key}")
    _check_chain(certificates, chain)
    return Credentials(_private_pem(private), b"".join(map(_pem, certificates)), _algorithm(private, key), _name(leaf))


def _check_chain(certificates: list[x509.Certificate], chain: Path) -> None:
    """UserError: one of them was not issued by the next, or the first is not valid now."""
    leaf, now = certificates[0], datetime.now(timezone.utc)
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if not start <= now <= end:
        raise UserError(f"the certificate in {chain} is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}, not now")
    for one, issuer in zip(certificates, certificates[1:], strict=False):
        try:
            one.verify_directly_issued_by(issuer)
        except Exception as error:  # names that differ, signatures that do not fit, kinds of key that it cannot check
            raise UserError(
                f"{chain}: the certificate of {_name(one)} is not issued by the one that follows"
            ) from error


def _algorithm(private: Any, key: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey):
        curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
        if private.curve.name in curves:
            return curves[private.curve.name]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return "ps256"
    raise UserError(f"{key}: C2PA signs with EC keys on P-256, P-384 or P-521, Ed25519, or RSA from 2048 bits on")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _name(certificate: x509.Certificate) -> str:
    from cryptography.x509.oid import NameOID

    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()
