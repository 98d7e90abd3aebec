"""Settings: from the environment (`SIZER_…`), a `.env` file and files of secrets. The README's table lists them all."""

import re
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

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
LogFormat = Literal["text", "json"]


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
    web_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]+$")] = "127.0.0.1"
    web_port: Annotated[int, Field(ge=0, le=65535)] = 0
    session_timeout: Annotated[float, Field(ge=1, le=300)] = 6.0
    adopt_topics: bool = False
    log_format: LogFormat = "text"

    def topic(self, logical_name: str) -> str:
        """Return the real name of a topic."""
        return self.topic_prefix + logical_name


class _LogSettings(BaseSettings):
    """The one setting that has to be known before all others are right."""

    model_config = _SOURCES

    log_format: LogFormat = "text"


def find_log_format() -> LogFormat:
    """Return how the log is to be written, also if other settings are wrong; `text` if that one itself is."""
    try:
        return _LogSettings().log_format
    except ValueError:
        return "text"


def load_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` win over the environment, that over `.env`, and that over files of secrets.

    Raises UserError, one line that names the setting, its value unless it is secret, and what was expected.
    """
    try:
        folder = _Place().secrets_dir
        if folder is not None and not folder.is_dir():
            raise UserError(f"SIZER_SECRETS_DIR={folder}: there is no such folder")
        with warnings.catch_warnings():
            # Else what is no file, or a link that leads out of the folder, would be passed over as if not there.
            warnings.filterwarnings("error", message="attempted to load secret file")
            return Settings(_secrets_dir=folder, **overrides)  # type: ignore[arg-type]  # validated by pydantic, whose errors are told below
    except SettingsError as error:
        name = (re.findall(r'field "(\w+)"', str(error)) or ["?"])[0]
        raise UserError(
            f"SIZER_SECRETS_DIR={folder}: the file sizer_{name} cannot be used ({error.__cause__ or error})"
        ) from None
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
