"""Settings: from the environment (`SIZER_…`), a `.env` file and files of secrets. The README's table lists them all."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import UserError
from app.registry_settings import RegistrySettings
from app.security import SecuritySettings

_LAST_PORT = 65_535


def _checked_servers(value: str) -> str:
    """Return a list of brokers as Kafka's clients take it; raises ValueError."""
    for server in value.split(","):
        host, _, port = server.strip().rpartition(":")
        if (
            not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host)
            or not port.isdecimal()
            or int(port) > _LAST_PORT
        ):
            raise ValueError(f"expected host:port or host:port,host:port, but {server!r} is none")
    return value


Partitioner = Literal["murmur2", "crc32", "any"]


_SOURCES = SettingsConfigDict(env_prefix="SIZER_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)


class _Place(BaseSettings):
    """Where further settings are: in files named like them, `sizer_sasl_password` for SIZER_SASL_PASSWORD."""

    model_config = _SOURCES

    secrets_dir: Path | None = None


class Settings(SecuritySettings, RegistrySettings):
    """What can be set without touching a rule; the rules' own parameters are in the policy file."""

    model_config = _SOURCES

    bootstrap_servers: Annotated[str, AfterValidator(_checked_servers)] = "localhost:9092"
    app_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "position-sizer"
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("position-sizer") / "worker")
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = ""
    policy_file: Path | None = None
    partitioner: Partitioner = "murmur2"
    web_port: Annotated[int, Field(ge=0, le=65535)] = 0
    session_timeout: Annotated[float, Field(ge=1, le=300)] = 6.0
    adopt_topics: bool = False

    def topic(self, logical_name: str) -> str:
        """Return the real name of a topic."""
        return self.topic_prefix + logical_name


def load_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` win over the environment, that over `.env`, and that over files of secrets.

    Raises UserError, one line that names the setting, its value unless it is secret, and what was expected.
    """
    try:
        folder = _Place().secrets_dir
        if folder is not None and not folder.is_dir():
            raise UserError(f"SIZER_SECRETS_DIR={folder}: there is no such folder")
        return Settings(_secrets_dir=folder, **overrides)  # type: ignore[arg-type]  # validated by pydantic, whose errors are told below
    except UnicodeDecodeError as error:
        raise UserError(f".env: is not UTF-8 text ({error})") from None
    except OSError as error:
        raise UserError(f"SIZER_SECRETS_DIR: {error.filename} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        raise UserError(_told(error.errors()[0])) from None


def _told(error: Any) -> str:
    """Return pydantic's error in a line, without any secret: what was given for all settings together has some."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    field = Settings.model_fields.get(str(error["loc"][0]))
    name = "SIZER_" + "_".join(str(part) for part in error["loc"]).upper()
    is_secret = field is not None and "SecretStr" in str(field.annotation)
    return f"{name}: {message}" if is_secret else f"{name}={error['input']!r}: {message}"
