"""Own keys are private and can sign; what does not fit is said before any work."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from facefact.generate.certificates import make_credentials, read_credentials, signing_folder
from facefact.types import UserError

pytest.importorskip("cryptography", reason="without the extra c2pa there are no certificates")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_credentials(tmp_path / "own", name="Ada")
    return tmp_path / "own"


def test_keys_are_their_owners_alone(folder: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes.keys() == {"key.pem", "ca-key.pem", "chain.pem", "ca.pem"}
    assert modes["key.pem"] == modes["ca-key.pem"] == 0o600
    own = read_credentials(folder / "key.pem", folder / "chain.pem")
    assert (own.algorithm, own.name) == ("es256", "Ada")
    assert b"PRIVATE" not in own.chain
    assert "PRIVATE" not in repr(own)


def test_nothing_is_overwritten(folder: Path) -> None:
    before = (folder / "key.pem").read_bytes()
    with pytest.raises(UserError, match="already there"):
        make_credentials(folder, name="Eve")
    assert (folder / "key.pem").read_bytes() == before


def test_where_they_lie_unless_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert signing_folder() == tmp_path / "facefact/signing"


def test_what_does_not_fit_is_said(folder: Path, tmp_path: Path) -> None:
    make_credentials(tmp_path / "other", name="Eve")
    other = tmp_path / "other"
    (tmp_path / "text").write_text("no key")
    mixed = tmp_path / "mixed.pem"
    mixed.write_bytes((folder / "chain.pem").read_bytes().split(b"-----END")[0] + b"-----END CERTIFICATE-----\n")
    mixed.write_bytes(mixed.read_bytes() + (other / "ca.pem").read_bytes())
    key, chain = folder / "key.pem", folder / "chain.pem"
    for bad_key, bad_chain, message in [
        (tmp_path / "none", chain, "cannot read"),
        (tmp_path / "text", chain, "no private key in PEM"),
        (key, tmp_path / "text", "no certificates in PEM"),
        (other / "key.pem", chain, "is not that of the key"),
        (key, mixed, "the certificate of Ada is not issued by the one that follows"),
    ]:
        with pytest.raises(UserError, match=message):
            read_credentials(bad_key, bad_chain)


def test_a_key_with_a_password_and_an_expired_certificate_are_said(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old")])
    then = datetime.now(timezone.utc) - timedelta(days=30)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(then).not_valid_after(then + timedelta(days=2))
    (tmp_path / "chain").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    for file, how in (("key", NoEncryption()), ("locked", BestAvailableEncryption(b"word"))):
        (tmp_path / file).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    with pytest.raises(UserError, match=r"is valid from .* to .*, not now"):
        read_credentials(tmp_path / "key", tmp_path / "chain")
    with pytest.raises(UserError, match="without a password"):
        read_credentials(tmp_path / "locked", tmp_path / "chain")
