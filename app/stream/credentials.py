"""How the member of the group, which is aiokafka behind Faust, proves who it is: as librdkafka's clients do."""

import asyncio
import ssl

import faust
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from authlib.integrations.httpx_client import OAuth2Client, OAuthError
from faust.types.auth import CredentialsT
from httpx2 import HTTPError

from app.errors import UserError
from app.security import SecuritySettings, trusting

_TOKEN_SECONDS = 10.0
_LEEWAY_SECONDS = 30
"""A token that is valid for less is not shown any more."""


def faust_credentials(settings: SecuritySettings) -> CredentialsT | None:
    """Return what Faust hands on to aiokafka; None for none."""
    context: ssl.SSLContext | None = settings.tls_context() if settings.uses_tls else None
    if settings.sasl_mechanism == "OAUTHBEARER":
        return faust.OAuthCredentials(oauth_cb=Tokens(settings), ssl_context=context)
    if settings.uses_sasl:
        assert settings.sasl_password is not None
        return faust.SASLCredentials(
            mechanism=settings.sasl_mechanism,
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Access tokens by client credentials, each used until shortly before it expires."""

    def __init__(self, settings: SecuritySettings) -> None:
        """Nothing is fetched yet."""
        assert settings.oauth_client_secret is not None
        self._url = settings.oauth_token_url
        self._client = OAuth2Client(
            client_id=settings.oauth_client_id,
            client_secret=settings.oauth_client_secret.get_secret_value(),
            scope=settings.oauth_scope,
            token_endpoint=settings.oauth_token_url,
            verify=trusting(settings.oauth_ca_file, "SIZER_OAUTH_CA_FILE"),
            timeout=_TOKEN_SECONDS,
        )
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """Return a valid token; aiokafka calls this for each connection, and tries again after its own errors only."""
        async with self._lock:
            try:
                return await asyncio.to_thread(self.fetch)
            except (UserError, HTTPError) as error:
                raise KafkaConnectionError(f"no token: {error}") from None

    def fetch(self) -> str:
        """Return a valid token; blocks. Raises UserError if the issuer refuses one, httpx2's HTTPError."""
        token = self._client.token
        try:
            if not token or token.is_expired(_LEEWAY_SECONDS):
                token = self._client.fetch_token(grant_type="client_credentials")
            return str(token["access_token"])
        except (OAuthError, ValueError, KeyError) as error:
            reason = error if isinstance(error, OAuthError) else "its answer has no access_token"
            raise UserError(
                f"SIZER_OAUTH_TOKEN_URL={self._url} gives {self._client.client_id} no token: {reason}; check"
                " SIZER_OAUTH_CLIENT_ID, SIZER_OAUTH_CLIENT_SECRET and SIZER_OAUTH_SCOPE"
            ) from None
