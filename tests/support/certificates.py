"""Certificates for tests: an authority that nothing else trusts, and certificates signed by it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFE = timedelta(days=2)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def cert_pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def named(text: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "retouch tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )


class Authority:
    """Signs certificates of other names."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(named("authority"), self._key.public_key())
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.cert = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def sign(
        self, name: str, *extensions: tuple[x509.ExtensionType, bool]
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate for `name`, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(named(name), key.public_key())
        basic = x509.BasicConstraints(ca=False, path_length=None)
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(basic, critical=True)
        builder = builder.add_extension(issuer_key, critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256()), key

    def serve(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Files of a chain and a key for a TLS server of this name."""
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        cert, key = self.sign(name, (names, False))
        chain_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
        chain_file.write_bytes(cert_pem(cert) + cert_pem(self.cert))
        key_file.write_bytes(key_pem(key))
        return chain_file, key_file

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(named("authority"))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - LIFE)
            .not_valid_after(now + LIFE)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )

    def trusted_by(self, folder: Path) -> Path:
        """A file of certificates for clients that trust this authority."""
        file = folder / "authority.pem"
        file.write_bytes(cert_pem(self.cert))
        return file
