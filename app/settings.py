"""Settings: from the environment (`SIZER_…`) and a `.env` file. The README's table lists them all."""

import re
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import UserError

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


class Settings(BaseSettings):
    """What can be set without touching a rule; the rules' own parameters are in the policy file."""

    model_config = SettingsConfigDict(
        env_prefix="SIZER_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    bootstrap_servers: Annotated[str, AfterValidator(_checked_servers)] = "localhost:9092"
    app_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "position-sizer"
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("position-sizer") / "worker")
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = ""
    policy_file: Path | None = None
    partitioner: Partitioner = "murmur2"
    output_format: Literal["json"] = "json"
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

    model_config = Settings.model_config

    log_format: LogFormat = "text"


def find_log_format() -> LogFormat:
    """Return how the log is to be written, also if other settings are wrong; `text` if that one itself is."""
    try:
        return _LogSettings().log_format
    except ValueError:
        return "text"


def load_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` win over the environment.

    Raises UserError, one line that names the setting, its value and what was expected.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # validated by pydantic, whose errors are told below
    except UnicodeDecodeError as error:
        raise UserError(f".env: is not UTF-8 text ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = "SIZER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise UserError(f"{name}={first['input']!r}: {first['msg'].removeprefix('Value error, ')}") from None
