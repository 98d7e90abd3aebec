"""How librdkafka's clients prove who they are, and whom they trust."""

from typing import Any

from pydantic import SecretStr

from app.security import SecuritySettings


def librdkafka_security(settings: SecuritySettings) -> dict[str, Any]:
    """Return librdkafka's configuration; it verifies certificates and host names by its own defaults."""
    config: dict[str, object] = {"security.protocol": settings.security_protocol}
    if settings.uses_tls:
        config |= {
            "ssl.ca.location": settings.ssl_ca_file,
            "ssl.certificate.location": settings.ssl_certificate_file,
            "ssl.key.location": settings.ssl_key_file,
            "ssl.key.password": settings.ssl_key_password,
        }
    if settings.uses_sasl:
        config |= {
            "sasl.mechanism": settings.sasl_mechanism,
            "sasl.username": settings.sasl_username,
            "sasl.password": settings.sasl_password,
        }
    if settings.sasl_mechanism == "OAUTHBEARER":
        config |= {
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": settings.oauth_token_url,
            "sasl.oauthbearer.client.id": settings.oauth_client_id,
            "sasl.oauthbearer.client.secret": settings.oauth_client_secret,
            "sasl.oauthbearer.scope": settings.oauth_scope,
            "https.ca.location": settings.oauth_ca_file,
        }
    return {name: _plain(value) for name, value in config.items() if value is not None}


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
