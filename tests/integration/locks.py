"""A broker with locks on its doors: TLS, passwords, client certificates, tokens, and an authorizer behind them.

The internal listener is open and its user may do everything: by it a test prepares and looks.
"""

import json
import random
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.jwk import RSAKey

from app.broker import Broker
from app.broker.ports import HOST, is_free
from app.settings import Settings
from app.stream.acls import Acl, Operation, Resource

PASSWORD = "correct horse, battery = staple"
PLAIN_USER = "clear"
CLIENT_SECRET = "token-secret"
ISSUER = "https://issuer.test"
AUDIENCE = "kafka"
LONGEST_SESSION = 60
"""Seconds that a member of a group may ask for."""
PATIENCE = 30.0
_EXPIRED = datetime(2020, 1, 1, tzinfo=UTC)
_PROTOCOLS = {
    "PLAINTEXT": "PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
    "PASSWORDS": "SASL_SSL",
    "TOKENS": "SASL_SSL",
    "CERTIFICATES": "SSL",
    "OUTDATED": "SSL",
}
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearer"
_KINDS = {
    Resource.TOPIC: ResourceType.TOPIC,
    Resource.GROUP: ResourceType.GROUP,
    Resource.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
}


class Certificates:
    """A certificate authority, and what it has issued as files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, name: str, *, ends_at: datetime | None = None, password: str | None = None) -> Path:
        """Issue a certificate for a host or a client; return a file with its key and its chain."""
        issued = self._authority.issue_cert(name, common_name=name, not_after=ends_at)
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        locked = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
        file = self._folder / f"{name}{'' if ends_at is None else '-outdated'}.pem"
        file.write_bytes(pem + b"".join(part.bytes() for part in issued.cert_chain_pems))
        return file

    def secure(self, server: ThreadingHTTPServer) -> None:
        """Have a server speak TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.issue(HOST))
        server.socket = context.wrap_socket(server.socket, server_side=True)


class TokenIssuer:
    """An OAuth token endpoint on the loopback, over TLS: client credentials for signed tokens."""

    def __init__(self, certificates: Certificates, jwks_file: Path, lifetime: timedelta = timedelta(minutes=5)) -> None:
        self.issued = 0
        self.lifetime = lifetime
        key = RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})
        jwks_file.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                client, _, secret = issuer.credentials(self.headers["Authorization"])
                status, answer = issuer.answer(key, client, secret)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        certificates.secure(self._server)
        self.url = f"https://{HOST}:{self._server.server_port}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @staticmethod
    def credentials(header: str) -> tuple[str, str, str]:
        """Read basic authentication."""
        import base64

        return base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")

    def answer(self, key: RSAKey, client: str, secret: str) -> tuple[int, Mapping[str, object]]:
        """Issue a token to whoever knows the password."""
        if secret != CLIENT_SECRET:
            return 401, {"error": "invalid_client", "error_description": "who are you?"}
        self.issued += 1
        now = int(time.time())
        seconds = int(self.lifetime.total_seconds())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": client, "iat": now, "exp": now + seconds}
        token = jwt.encode({"alg": "RS256", "kid": "1"}, claims, key)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": seconds}

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class LockedBroker:
    """A real broker, its certificates, its users and what they may do."""

    def __init__(self, folder: Path) -> None:
        self.certificates = Certificates(folder / "certificates")
        jwks = folder / "jwks.json"
        self.issuer = TokenIssuer(self.certificates, jwks)
        free = (port for port in random.sample(range(20_000, 29_000), 200) if is_free(port))
        self._ports = {name: next(free) for name in _PROTOCOLS}
        self._broker = Broker(
            folder / "broker",
            properties=self._properties(jwks),
            java_options=[f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks.as_uri()}"],
        )
        self._broker.data_dir.mkdir(parents=True)
        chosen = {"broker": self._ports["PLAINTEXT"], "controller": self._ports["CONTROLLER"]}
        (self._broker.data_dir / "ports.json").write_text(json.dumps(chosen))

    def _properties(self, jwks: Path) -> dict[str, str]:
        addresses = {name: f"{name}://{HOST}:{port}" for name, port in self._ports.items()}
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        return {
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(where for name, where in addresses.items() if name != "CONTROLLER"),
            "controller.quorum.voters": f"1@{HOST}:{self._ports['CONTROLLER']}",
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in _PROTOCOLS.items()),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.issue(HOST)),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.ca_file),
            "listener.name.outdated.ssl.keystore.location": str(self.certificates.issue(HOST, ends_at=_EXPIRED)),
            "listener.name.certificates.ssl.client.auth": "required",
            "listener.name.certificates.ssl.principal.mapping.rules": r"RULE:^.*?CN=([^,]+).*$/$1/,DEFAULT",
            "listener.name.passwords.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
            "listener.name.passwords.scram-sha-256.sasl.jaas.config": scram,
            "listener.name.passwords.scram-sha-512.sasl.jaas.config": scram,
            "listener.name.passwords.plain.sasl.jaas.config": f'{plain} user_{PLAIN_USER}="{PASSWORD}";',
            "listener.name.tokens.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.tokens.oauthbearer.sasl.jaas.config": f"{_OAUTH}LoginModule required;",
            "listener.name.tokens.oauthbearer.sasl.server.callback.handler.class": f"{_OAUTH}ValidatorCallbackHandler",
            "listener.name.tokens.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": jwks.as_uri(),
            "listener.name.tokens.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
            "listener.name.tokens.oauthbearer.sasl.oauthbearer.expected.issuer": ISSUER,
            "connection.failed.authentication.delay.ms": "10",
            "group.max.session.timeout.ms": str(LONGEST_SESSION * 1000),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def __enter__(self) -> Self:
        self._broker.start()
        self.admin = AdminClient({"bootstrap.servers": self.open_server, "log_level": 0})
        return self

    def __exit__(self, *_: object) -> None:
        self._broker.kill()
        self.issuer.close()

    def restart(self) -> None:
        """End it as a crash would and start it again."""
        self._broker.kill()
        self._broker.start()

    @property
    def open_server(self) -> str:
        """Where everybody may do everything."""
        return f"{HOST}:{self._ports['PLAINTEXT']}"

    def server(self, listener: str, host: str = HOST) -> str:
        """Where a listener is."""
        return f"{host}:{self._ports[listener]}"

    def set_password(self, user: str, mechanism: str = "SCRAM-SHA-256", password: str = PASSWORD) -> None:
        """Make a user, or give it another password."""
        kind = ScramMechanism.SCRAM_SHA_512 if mechanism == "SCRAM-SHA-512" else ScramMechanism.SCRAM_SHA_256
        change = UserScramCredentialUpsertion(user, ScramCredentialInfo(kind, 4096), password.encode())
        for future in self.admin.alter_user_scram_credentials([change]).values():
            future.result()

    def by_password(self, user: str, mechanism: str = "SCRAM-SHA-256") -> dict[str, str]:
        """Return the settings of who logs in by a password; SCRAM users are made."""
        if mechanism != "PLAIN":
            self.set_password(user, mechanism)
        return {
            "bootstrap_servers": self.server("PASSWORDS"),
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": mechanism,
            "sasl_username": user,
            "sasl_password": PASSWORD,
            "ssl_ca_file": str(self.certificates.ca_file),
        }

    def by_certificate(self, name: str) -> dict[str, str]:
        """Return the settings of who shows a certificate, whose key is locked."""
        file = str(self.certificates.issue(name, password=PASSWORD))
        return {
            "bootstrap_servers": self.server("CERTIFICATES"),
            "security_protocol": "SSL",
            "ssl_ca_file": str(self.certificates.ca_file),
            "ssl_certificate_file": file,
            "ssl_key_file": file,
            "ssl_key_password": PASSWORD,
        }

    def by_token(self, client: str) -> dict[str, str]:
        """Return the settings of who fetches tokens."""
        return {
            "bootstrap_servers": self.server("TOKENS"),
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "ssl_ca_file": str(self.certificates.ca_file),
            "oauth_token_url": self.issuer.url,
            "oauth_client_id": client,
            "oauth_client_secret": CLIENT_SECRET,
            "oauth_ca_file": str(self.certificates.ca_file),
        }

    def allow(self, user: str, acls: Iterable[Acl]) -> None:
        """Allow a user something; returns when the broker knows of it."""
        bindings = [binding for acl in acls for binding in _bindings(user, acl)]
        for future in self.admin.create_acls(bindings).values():
            future.result()
        self._wait_until(bindings, are_known=True)

    def forbid(self, user: str, acl: Acl) -> None:
        """Take back what was allowed; returns when the broker knows of it."""
        bindings = _bindings(user, acl)
        for future in self.admin.delete_acls([_filter(binding) for binding in bindings]).values():
            future.result()
        self._wait_until(bindings, are_known=False)

    def _wait_until(self, bindings: Iterable[AclBinding], *, are_known: bool) -> None:
        deadline = time.monotonic() + PATIENCE
        for binding in bindings:
            while bool(self.admin.describe_acls(_filter(binding)).result()) != are_known:
                assert time.monotonic() < deadline, binding
                threading.Event().wait(0.01)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings as environment variables."""
    return {f"SIZER_{name.upper()}": value for name, value in settings.items()}


def librdkafka(settings: Settings) -> dict[str, str]:
    """Return what a neighbour in another project would write for the same settings."""
    config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(settings.ssl_ca_file),
    }
    return {name: value for name, value in config.items() if value is not None}


def each_operation(acls: Iterable[Acl]) -> list[Acl]:
    """Take lists of operations apart."""
    return [acl._replace(operations=(operation,)) for acl in acls for operation in acl.operations]


def _bindings(user: str, acl: Acl) -> list[AclBinding]:
    pattern = ResourcePatternType.PREFIXED if acl.is_prefix else ResourcePatternType.LITERAL
    return [
        AclBinding(
            _KINDS[acl.resource],
            acl.name,
            pattern,
            f"User:{user}",
            "*",
            _operation(operation),
            AclPermissionType.ALLOW,
        )
        for operation in acl.operations
    ]


def _operation(operation: Operation) -> AclOperation:
    return getattr(AclOperation, operation.name)  # type: ignore[no-any-return]  # an enum


def _filter(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )
