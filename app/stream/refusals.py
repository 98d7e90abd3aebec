"""Why brokers do not let us in, or do not let us do something: in one line, with who we are and what would mend it.

What the clients say of it is the same for different causes ("certificate verify failed"), or a time-out. So where they
could not connect, one connection is made by Python's own TLS, which says exactly what it minds.
"""

import shlex
import socket
import ssl

from confluent_kafka import KafkaError

from app.errors import UserError
from app.settings import Settings

NOT_ALLOWED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
"""What brokers answer where an ACL is missing."""
NOT_LET_IN = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001 - the names of the codes
"""What librdkafka says where a connection could not be secured."""

_SECONDS = 3.0
_ALERT_SECONDS = 1.0
"""In TLS 1.3 a broker says only after the handshake that it does not take our certificate."""
_WRONG_NAME = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED


class NotAllowedError(UserError):
    """An ACL is missing."""


def lacking(settings: Settings, role: str, *missing: str) -> NotAllowedError:
    """Return that something is not allowed. `role`: of `sizer acls`; `missing`: say, `Write on topic signals`."""
    who = settings.principal
    return NotAllowedError(
        f"{who} is not allowed {'; '.join(missing)}: `sizer acls {role} --principal {shlex.quote(who)}` prints the"
        " commands that allow what is needed"
    )


def find_refusal(settings: Settings, code: int | None, said: str | None) -> UserError | str | None:
    """Find out why no broker could be reached, after librdkafka has said `code` and `said`; blocks for some seconds.

    Return what a human must mend, or a hint at what the reason may be, or None.
    """
    if settings.sasl_mechanism == "OAUTHBEARER" and (found := _find_no_token(settings)) is not None:
        return found
    if code == KafkaError._AUTHENTICATION:  # noqa: SLF001 - the name of the code
        return _not_logged_in(settings, said or "")
    for server in map(str.strip, settings.bootstrap_servers.split(",")):
        host, _, port = server.rpartition(":")
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), _SECONDS)
        except OSError:
            continue
        with connection:
            return _probe(settings, connection, host.strip("[]"), server)
    return None


def _find_no_token(settings: Settings) -> UserError | str | None:
    # Imported where it is needed: most commands of most deployments do without.
    from httpx2 import HTTPError

    from app.stream.credentials import Tokens

    try:
        Tokens(settings).fetch()
    except UserError as error:
        return error
    except HTTPError as error:
        return f"SIZER_OAUTH_TOKEN_URL={settings.oauth_token_url} gives no token now: {error}"
    return None


def _not_logged_in(settings: Settings, said: str) -> UserError:
    _, _, reason = said.partition(": ")
    reason = reason.partition(" (after ")[0].rstrip(": ")
    if "mechanism handshake failed" in said:
        cure = (
            f"SIZER_SASL_MECHANISM={settings.sasl_mechanism} and SIZER_SECURITY_PROTOCOL={settings.security_protocol}"
        )
    elif settings.sasl_mechanism == "OAUTHBEARER":
        cure = "SIZER_OAUTH_SCOPE, and the issuer and audience that the brokers expect"
    else:
        cure = "SIZER_SASL_USERNAME and SIZER_SASL_PASSWORD"
    return UserError(
        f"the brokers at {settings.bootstrap_servers} do not let {settings.principal} in: {reason}; check {cure}"
    )


def _probe(settings: Settings, connection: socket.socket, host: str, server: str) -> UserError | str | None:
    protocol = settings.security_protocol
    context = settings.tls_context() if settings.uses_tls else ssl.create_default_context()
    speaks_tls = False
    try:
        with context.wrap_socket(connection, server_hostname=host) as secured:
            speaks_tls = True
            secured.settimeout(_ALERT_SECONDS)
            secured.recv(1)
    except ssl.SSLCertVerificationError as error:
        speaks_tls = True
        if settings.uses_tls:
            return _not_trusted(server, host, error)
    except ssl.SSLError as error:
        if settings.uses_tls and "ALERT" in error.reason:
            return _not_taken(settings, server, error)
    except TimeoutError:
        if not speaks_tls:
            return None  # it answers nothing at all
    except OSError:
        pass  # it has ended the connection
    if speaks_tls and not settings.uses_tls:
        wanted = "SASL_SSL" if settings.uses_sasl else "SSL, or to SASL_SSL if it asks for a password"
        return UserError(
            f"the broker at {server} speaks TLS but SIZER_SECURITY_PROTOCOL is {protocol}: set it to {wanted}"
        )
    does = "speaks no TLS" if settings.uses_tls and not speaks_tls else "is there, but does not answer"
    return f"{server} {does}; is SIZER_SECURITY_PROTOCOL={protocol} that of this port?"


def _not_trusted(server: str, host: str, error: ssl.SSLCertVerificationError) -> UserError:
    reason = error.verify_message.rstrip(".")
    if error.verify_code in _WRONG_NAME:
        cure = f"use a name in SIZER_BOOTSTRAP_SERVERS that is in the certificate, or have {host} put into it"
    elif error.verify_code == _EXPIRED:
        cure = "have the broker's certificate renewed, or see to this machine's clock"
    else:
        cure = "set SIZER_SSL_CA_FILE to the certificate of the CA that issued it"
    return UserError(f"the certificate of the broker at {server} is not trusted: {reason}; {cure}")


def _not_taken(settings: Settings, server: str, error: ssl.SSLError) -> UserError:
    if settings.ssl_certificate_file is None:
        return UserError(
            f"the broker at {server} wants a certificate of its clients: set SIZER_SSL_CERTIFICATE_FILE and"
            " SIZER_SSL_KEY_FILE"
        )
    reason = error.reason.lower().replace("_", " ")
    return UserError(
        f"the broker at {server} does not take the certificate of {settings.principal} ({reason}): is"
        f" SIZER_SSL_CERTIFICATE_FILE={settings.ssl_certificate_file} issued by a CA that the broker trusts, and its"
        " whole chain in the file?"
    )
