"""The settings that say how Kafka's clients prove who they are, and whom they trust; checked together."""

import ssl
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, Self
from urllib.parse import SplitResult, urlsplit

from cryptography import x509
from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

_LARGEST_FILE = 1024 * 1024
"""Bytes of certificates or of a key: OpenSSL would read a device that never ends until there is no memory left."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SASL = ("sasl_mechanism", "sasl_username", "sasl_password")
_TLS = ("ssl_ca_file", "ssl_certificate_file", "ssl_key_file", "ssl_key_password")
_OAUTH = ("oauth_token_url", "oauth_client_id", "oauth_client_secret", "oauth_scope", "oauth_ca_file")

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


class SecuritySettings(BaseSettings):
    """How to be let in by the brokers. Secrets print as asterisks."""

    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_file: Path | None = None
    ssl_certificate_file: Path | None = None
    ssl_key_file: Path | None = None
    ssl_key_password: SecretStr | None = None
    oauth_token_url: str | None = None
    oauth_client_id: str | None = None
    oauth_client_secret: SecretStr | None = None
    oauth_scope: str | None = None
    oauth_ca_file: Path | None = None

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted, and the brokers' certificates verified."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether clients log in by SASL."""
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @cached_property
    def principal(self) -> str:
        """Who the brokers take us for, as far as can be known here, in the notation of their ACLs.

        Rules of the brokers' own may map a certificate to a shorter name; a token's subject is the issuer's choice.
        """
        if self.uses_sasl:
            return f"User:{self.sasl_username or self.oauth_client_id}"
        if self.uses_tls and self.ssl_certificate_file is not None:
            return f"User:{_certificate(self.ssl_certificate_file).subject.rfc4514_string()}"
        return "User:ANONYMOUS"

    def tls_context(self) -> ssl.SSLContext:
        """Return what verifies the brokers, their host names too, and shows them our certificate.

        Raises ValueError, naming the setting, if a file is none that this can be made of.
        """
        context = trusting(self.ssl_ca_file, "SIZER_SSL_CA_FILE")
        if self.ssl_certificate_file is not None:
            self._show_certificate(context, self.ssl_certificate_file)
        return context

    def _show_certificate(self, context: ssl.SSLContext, file: Path) -> None:
        ends_at = _certificate(file).not_valid_after_utc
        if ends_at < datetime.now(UTC):
            raise ValueError(
                f"SIZER_SSL_CERTIFICATE_FILE={file}: the certificate of {self.principal} expired at"
                f" {ends_at:%Y-%m-%d %H:%M} UTC; have a new one issued"
            )
        is_asked = False

        def password() -> str:
            nonlocal is_asked
            is_asked = True
            return "" if self.ssl_key_password is None else self.ssl_key_password.get_secret_value()

        try:
            # With a function, else OpenSSL would ask whoever sits at the terminal.
            context.load_cert_chain(file, self.ssl_key_file, password)
        except (ssl.SSLError, OSError, ValueError) as error:
            if is_asked:
                known = "is needed to open" if self.ssl_key_password is None else "does not open"
                raise ValueError(f"SIZER_SSL_KEY_PASSWORD {known} SIZER_SSL_KEY_FILE={self.ssl_key_file}") from None
            if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
                raise ValueError(
                    f"SIZER_SSL_KEY_FILE={self.ssl_key_file} is not the key of SIZER_SSL_CERTIFICATE_FILE={file}"
                ) from None
            raise ValueError(f"SIZER_SSL_KEY_FILE={self.ssl_key_file}: holds no private key in PEM") from None

    @field_validator(*_SASL, *_TLS, *_OAUTH, mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        # As with the environment; a file of a secret may be empty too.
        return None if value == "" else value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        self._check_sasl()
        self._check_oauth()
        self._check_tls()
        return self

    def _check_sasl(self) -> None:
        if not self.uses_sasl:
            self._refuse_unused(_SASL, "SIZER_SECURITY_PROTOCOL", self.security_protocol, "SASL_SSL")
            return
        if self.sasl_mechanism is None:
            raise ValueError(
                f"SIZER_SECURITY_PROTOCOL={self.security_protocol} needs SIZER_SASL_MECHANISM: PLAIN, SCRAM-SHA-256,"
                " SCRAM-SHA-512 or OAUTHBEARER"
            )
        if self.sasl_mechanism == "OAUTHBEARER":
            self._refuse_unused(_SASL[1:], "SIZER_SASL_MECHANISM", self.sasl_mechanism, "SCRAM-SHA-512, say")
        else:
            self._need(("sasl_username", "sasl_password"), f"SIZER_SASL_MECHANISM={self.sasl_mechanism}")

    def _check_oauth(self) -> None:
        if self.sasl_mechanism != "OAUTHBEARER":
            self._refuse_unused(_OAUTH, "SIZER_SASL_MECHANISM", self.sasl_mechanism, "OAUTHBEARER")
            return
        self._need(
            ("oauth_token_url", "oauth_client_id", "oauth_client_secret"), f"SIZER_SASL_MECHANISM={self.sasl_mechanism}"
        )
        if not _is_private(self.oauth_token_url or ""):
            raise ValueError(
                "SIZER_OAUTH_TOKEN_URL: expected https://host/path without a user or password in it; http:// only on"
                " the loopback, because the client secret travels there"
            )
        trusting(self.oauth_ca_file, "SIZER_OAUTH_CA_FILE")

    def _check_tls(self) -> None:
        if not self.uses_tls:
            wanted = "SASL_SSL" if self.uses_sasl else "SSL"
            self._refuse_unused(_TLS, "SIZER_SECURITY_PROTOCOL", self.security_protocol, wanted)
            return
        if self.ssl_certificate_file is not None:
            self._need(("ssl_key_file",), "SIZER_SSL_CERTIFICATE_FILE")
        if self.ssl_key_file is not None or self.ssl_key_password is not None:
            self._need(("ssl_certificate_file",), "SIZER_SSL_KEY_FILE")
        for name in ("ssl_certificate_file", "ssl_key_file"):
            if (file := getattr(self, name)) is not None:
                _read(file, _variable(name))
        self.tls_context()

    def _need(self, names: tuple[str, ...], by: str) -> None:
        for name in names:
            if getattr(self, name) is None:
                raise ValueError(f"{by} needs {_variable(name)}, which is not set")

    def _refuse_unused(self, names: tuple[str, ...], switch: str, value: str | None, wanted: str) -> None:
        """Refuse what would have no effect: whoever set it believes that it has."""
        for name in names:
            if getattr(self, name) is not None:
                state = f"{switch} is not set" if value is None else f"{switch} is {value}"
                raise ValueError(f"{_variable(name)} is set but {state}: set {switch}={wanted}, or leave it out")


def _is_private(url: str) -> bool:
    """Tell whether nobody on the way can read what is sent there, and nothing in it is to be kept from a log."""
    parts = parsed_url(url)
    if parts is None:
        return False
    is_encrypted = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    return is_encrypted and "@" not in parts.netloc


def parsed_url(url: str) -> SplitResult | None:
    """Return the parts of a URL that can be connected to; None if it is none."""
    if not url.isprintable() or " " in url:  # `urlsplit` would leave line breaks out
        return None
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is none
        return None
    return parts if is_whole else None


def trusting(ca_file: Path | None, setting: str) -> ssl.SSLContext:
    """Return a context that trusts the certificates of a file, or the system's; raises ValueError, naming `setting`."""
    if ca_file is not None:
        _read(ca_file, setting)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (ssl.SSLError, OSError):
        raise ValueError(f"{setting}={ca_file}: holds no certificate in PEM") from None
    # Python is strict from 3.13 on, librdkafka is not: both are to judge alike.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _certificate(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(file, "SIZER_SSL_CERTIFICATE_FILE"))
    except ValueError as error:
        if str(error).startswith("SIZER_"):
            raise
        raise ValueError(f"SIZER_SSL_CERTIFICATE_FILE={file}: holds no certificate in PEM") from None


def _read(file: Path, setting: str) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{setting}={file}: cannot be read ({reason})") from None
    if len(content) > _LARGEST_FILE:
        raise ValueError(f"{setting}={file}: is larger than {_LARGEST_FILE:,} bytes; name a file in PEM")
    return content


def _variable(name: str) -> str:
    return f"SIZER_{name.upper()}"
