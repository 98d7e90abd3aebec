"""The settings of locks: what is refused, by which line, and that no secret is ever shown."""

import asyncio
import shlex
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError

from app.errors import UserError
from app.settings import Settings, load_settings
from app.stream.acls import Role, acl_commands, acls_of
from app.stream.credentials import Tokens, faust_credentials
from app.stream.security import librdkafka_security
from tests.integration.locks import CLIENT_SECRET, Certificates, TokenIssuer

SECRET = "hunter2"
SCRAM = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "desk"}
OAUTH = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "oauth_token_url": "https://issuer.test/token",
    "oauth_client_id": "desk",
    "oauth_client_secret": SECRET,
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Give an authority with a folder of its own."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(**settings: object) -> str:
    with pytest.raises(UserError) as refusal:
        load_settings(**settings)
    line = str(refusal.value)
    assert SECRET not in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"security_protocol": "TLS"}, "SIZER_SECURITY_PROTOCOL='TLS': Input should be 'PLAINTEXT', 'SSL', "),
        ({"sasl_password": SECRET}, "SIZER_SASL_PASSWORD is set but SIZER_SECURITY_PROTOCOL is PLAINTEXT"),
        ({"ssl_ca_file": "/ca.pem"}, "SIZER_SSL_CA_FILE is set but SIZER_SECURITY_PROTOCOL is PLAINTEXT"),
        ({"oauth_client_secret": SECRET}, "SIZER_OAUTH_CLIENT_SECRET is set but SIZER_SASL_MECHANISM is not set"),
        ({"security_protocol": "SASL_SSL"}, "SIZER_SECURITY_PROTOCOL=SASL_SSL needs SIZER_SASL_MECHANISM: PLAIN"),
        (SCRAM, "SIZER_SASL_MECHANISM=SCRAM-SHA-512 needs SIZER_SASL_PASSWORD, which is not set"),
        (SCRAM | {"sasl_password": ""}, "SIZER_SASL_MECHANISM=SCRAM-SHA-512 needs SIZER_SASL_PASSWORD"),
        (SCRAM | {"sasl_password": 5}, "SIZER_SASL_PASSWORD: "),
        (OAUTH | {"sasl_username": "desk"}, "SIZER_SASL_USERNAME is set but SIZER_SASL_MECHANISM is OAUTHBEARER"),
        (OAUTH | {"oauth_client_id": None}, "SIZER_SASL_MECHANISM=OAUTHBEARER needs SIZER_OAUTH_CLIENT_ID"),
        (OAUTH | {"oauth_token_url": "http://issuer.test/token"}, "SIZER_OAUTH_TOKEN_URL: expected https://"),
        (OAUTH | {"oauth_token_url": f"https://desk:{SECRET}@issuer.test/"}, "without a user or password in it"),
        (OAUTH | {"oauth_token_url": "https://[issuer"}, "SIZER_OAUTH_TOKEN_URL: expected https://"),
        (OAUTH | {"oauth_token_url": "https://issuer\n.test/"}, "SIZER_OAUTH_TOKEN_URL: expected https://"),
        (OAUTH | {"oauth_token_url": "https://issuer.test:99999/"}, "SIZER_OAUTH_TOKEN_URL: expected https://"),
        ({"security_protocol": "SSL", "ssl_ca_file": "a\0b"}, "SIZER_SSL_CA_FILE=a\0b: cannot be read"),
        (OAUTH | {"oauth_ca_file": "/nowhere.pem"}, "SIZER_OAUTH_CA_FILE=/nowhere.pem: cannot be read (No such file"),
        ({"security_protocol": "SSL", "ssl_ca_file": "/nowhere.pem"}, "SIZER_SSL_CA_FILE=/nowhere.pem: cannot be read"),
        ({"security_protocol": "SSL", "ssl_ca_file": "/dev/zero"}, "SIZER_SSL_CA_FILE=/dev/zero: is larger than "),
        ({"security_protocol": "SSL", "ssl_certificate_file": "/a.pem"}, "needs SIZER_SSL_KEY_FILE, which is not set"),
        ({"security_protocol": "SSL", "ssl_key_file": "/a.pem"}, "needs SIZER_SSL_CERTIFICATE_FILE, which is not set"),
    ],
)
def test_what_does_not_go_together_is_named(settings: dict[str, object], said: str) -> None:
    assert said in told(**settings)


def test_files_are_looked_into(certificates: Certificates, tmp_path: Path) -> None:
    tls = {"security_protocol": "SSL", "ssl_ca_file": str(certificates.ca_file)}
    own, other = certificates.issue("desk"), certificates.issue("other")
    locked = certificates.issue("locked", password=SECRET)
    old = certificates.issue("desk", ends_at=datetime(2020, 1, 1, tzinfo=UTC))
    text = tmp_path / "text"
    text.write_text("no certificate")

    def pair(certificate: Path, key: Path, **more: str) -> dict[str, str]:
        return tls | {"ssl_certificate_file": str(certificate), "ssl_key_file": str(key)} | more

    assert "SIZER_SSL_CA_FILE" in (line := told(**tls | {"ssl_ca_file": str(text)}))
    assert "no certificate in PEM" in line
    assert f"SIZER_SSL_CERTIFICATE_FILE={text}: holds no certificate in PEM" in told(**pair(text, own))
    assert f"SIZER_SSL_KEY_FILE={text}: holds no private key in PEM" in told(**pair(own, text))
    assert f"SIZER_SSL_KEY_FILE={other} is not the key of" in told(**pair(own, other))
    assert "SIZER_SSL_KEY_PASSWORD is needed to open" in told(**pair(locked, locked))
    assert "SIZER_SSL_KEY_PASSWORD does not open" in told(**pair(locked, locked, ssl_key_password="guessed"))
    assert "User:CN=desk," in (line := told(**pair(old, old)))
    assert "expired at 2020-01-01 00:00 UTC" in line
    taken = load_settings(**pair(locked, locked, ssl_key_password=SECRET))
    assert taken.principal.startswith("User:CN=locked,")


def test_brokers_and_their_host_names_are_verified_by_both_kinds_of_clients() -> None:
    settings = load_settings(**SCRAM | {"sasl_password": SECRET})
    context = settings.tls_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    credentials = faust_credentials(settings)
    assert credentials is not None
    assert credentials.protocol.value == "SASL_SSL"
    # What librdkafka verifies by default nobody has switched off.
    assert not {name for name in librdkafka_security(settings) if "verif" in name or "identification" in name}


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "secrets"
    monkeypatch.setenv("SIZER_SECRETS_DIR", str(folder))
    assert told(**SCRAM) == f"SIZER_SECRETS_DIR={folder}: there is no such folder"
    folder.mkdir()
    assert "needs SIZER_SASL_PASSWORD" in told(**SCRAM)
    (folder / "sizer_sasl_password").write_text(f"{SECRET}\n")
    (folder / "unrelated").write_text("unrelated")
    settings = load_settings(**SCRAM)
    assert librdkafka_security(settings)["sasl.password"] == SECRET
    for shown in (repr(settings), str(settings), str(settings.model_dump()), repr(faust_credentials(settings))):
        assert SECRET not in shown
    assert "SIZER_WEB_PORT='x'" in told(**SCRAM, web_port="x")
    monkeypatch.setenv("SIZER_SASL_PASSWORD", "by environment")
    assert librdkafka_security(load_settings(**SCRAM))["sasl.password"] == "by environment"


def test_a_file_of_a_secret_that_cannot_be_read_is_told_and_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("SIZER_SECRETS_DIR", str(folder))
    file, outside = folder / "sizer_sasl_password", tmp_path / "elsewhere"
    outside.write_text(SECRET)
    file.write_bytes(SECRET.encode() + b"\xff")
    assert "the file sizer_sasl_password cannot be used ('utf-8' codec" in told(**SCRAM)
    file.unlink()
    file.mkdir()
    assert "sizer_sasl_password cannot be used" in told(**SCRAM)
    file.rmdir()
    for target, why in ((outside, "resolves outside of"), (tmp_path / "gone", "")):
        file.symlink_to(target)
        assert f"SIZER_SECRETS_DIR={folder}: the file sizer_sasl_password cannot be used" in told(**SCRAM)
        assert why in told(**SCRAM)
        file.unlink()
    (folder / "..now").mkdir()  # as Kubernetes does it
    (folder / "..now" / "sizer_sasl_password").write_text(SECRET)
    (folder / "..data").symlink_to("..now")
    file.symlink_to("..data/sizer_sasl_password")
    assert librdkafka_security(load_settings(**SCRAM))["sasl.password"] == SECRET


def test_the_env_file_may_say_all_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "sizer_sasl_password").write_text(SECRET)
    lines = [f"SIZER_SECRETS_DIR={folder}", *(f"SIZER_{name.upper()}={value}" for name, value in SCRAM.items())]
    (tmp_path / ".env").write_text("\n".join(lines))
    settings = load_settings()
    assert settings.principal == "User:desk"
    assert librdkafka_security(settings) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "desk",
        "sasl.password": SECRET,
    }


class TestTokens:
    """Access tokens for the member of the group."""

    @pytest.fixture
    def issuer(self, certificates: Certificates, tmp_path: Path) -> Iterator[TokenIssuer]:
        """Run an issuer."""
        running = TokenIssuer(certificates, tmp_path / "jwks.json")
        yield running
        running.close()

    def settings(self, issuer: TokenIssuer, certificates: Certificates, secret: str = CLIENT_SECRET) -> Settings:
        own = {"oauth_token_url": issuer.url, "oauth_ca_file": certificates.ca_file, "oauth_client_secret": secret}
        return load_settings(**OAUTH | own)

    def test_one_is_used_until_shortly_before_it_expires(self, issuer: TokenIssuer, certificates: Certificates) -> None:
        tokens = Tokens(self.settings(issuer, certificates))

        async def several() -> set[str]:
            return set(await asyncio.gather(*(tokens.token() for _ in range(5))))

        assert len(asyncio.run(several())) == issuer.issued == 1
        issuer.lifetime = timedelta(seconds=20)  # so near its end that a broker might not take it any more
        tokens = Tokens(self.settings(issuer, certificates))
        asyncio.run(several())
        assert issuer.issued == 6

    def test_a_refusal_names_the_client_and_not_its_secret(
        self, issuer: TokenIssuer, certificates: Certificates
    ) -> None:
        tokens = Tokens(self.settings(issuer, certificates, SECRET))
        with pytest.raises(UserError) as refusal:
            tokens.fetch()
        assert f"SIZER_OAUTH_TOKEN_URL={issuer.url} gives desk no token: invalid_client" in str(refusal.value)
        assert SECRET not in str(refusal.value)
        # For aiokafka it is an error of a connection, after which it tries again: nothing else may come out of it.
        with pytest.raises(KafkaConnectionError, match="invalid_client"):
            asyncio.run(tokens.token())

    def test_an_issuer_that_is_away_is_an_error_of_the_connection_too(
        self, issuer: TokenIssuer, certificates: Certificates
    ) -> None:
        tokens = Tokens(self.settings(issuer, certificates))
        issuer.close()
        with pytest.raises(KafkaConnectionError):
            asyncio.run(tokens.token())


def test_the_commands_that_allow_a_role_are_shell(tmp_path: Path) -> None:
    settings = load_settings(app_id="desk", topic_prefix="a.", bootstrap_servers="kafka:9092")
    principal = "User:CN=venue one,O=desk's"
    lines = list(acl_commands(settings, Role.EXECUTION_SERVICE, principal, "venue"))
    begin = ["kafka-acls.sh", "--bootstrap-server", "kafka:9092", "--command-config", "$ADMIN_CONFIG", "--add"]
    begin += ["--allow-principal", principal, "--operation"]
    assert [shlex.split(line) for line in lines if not line.startswith("# ")] == [
        [*begin, "Read", "--topic", "a.sized_orders"],
        [*begin, "Read", "--group", "venue"],
        [*begin, "Write", "--topic", "a.fills"],
        [*begin, "Read", "--topic", "a.fills.dlq"],
    ]
    assert {acl.name for acl in acls_of(settings, Role.ANALYST)} == {acl.name for acl in acls_of(settings, Role.ADMIN)}
