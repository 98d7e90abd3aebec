"""The settings of formats: how answers are written, and which Schema Registry numbers the schemas."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from app.security import parsed_url, trusting
from app.topics import PHASE_EVENTS, SIZED_ORDERS

OUTPUT_FORMATS = ("json", "avro", "avro-single-object")
CONFLUENT_FRAMING = "avro"
_TOPICS = (SIZED_ORDERS, PHASE_EVENTS)
_NEEDS_URL = ("username", "password", "ca_file", "certificate_file", "key_file")


def _formats(value: str) -> dict[str, str]:
    """Return a format for each topic that has answers; raises ValueError."""
    if value in OUTPUT_FORMATS:
        return dict.fromkeys(_TOPICS, value)
    formats = dict.fromkeys(_TOPICS, "json")
    given = [part.strip().partition("=") for part in value.split(",")]
    if not all(topic in _TOPICS and chosen in OUTPUT_FORMATS for topic, _, chosen in given):
        raise ValueError(
            f"expected {', '.join(OUTPUT_FORMATS)}, or one for each topic, such as {SIZED_ORDERS}=avro,"
            f"{PHASE_EVENTS}=json"
        )
    return formats | {topic: chosen for topic, _, chosen in given}


def _checked_formats(value: str) -> str:
    _formats(value)
    return value


def _check_urls(value: str) -> None:
    """Check where the registry is said to be; raises ValueError, which does not show it: it may have a password."""
    for url in value.split(","):
        if "@" in url:
            raise ValueError(
                "SIZER_SCHEMA_REGISTRY_URL: has a user, which would be logged; leave it out, and set"
                " SIZER_SCHEMA_REGISTRY_USERNAME and SIZER_SCHEMA_REGISTRY_PASSWORD"
            )
        parts = parsed_url(url.strip())
        if parts is None or parts.scheme not in ("http", "https"):
            raise ValueError(
                "SIZER_SCHEMA_REGISTRY_URL: expected http://host:port or https://host:port/path, or several with commas"
                " between"
            )


class RegistrySettings(BaseSettings):
    """How to write answers and how to reach the registry. Secrets print as asterisks."""

    output_format: Annotated[str, AfterValidator(_checked_formats)] = "json"
    schema_registry_url: str | None = None
    schema_registry_username: str | None = None
    schema_registry_password: SecretStr | None = None
    schema_registry_ca_file: Path | None = None
    schema_registry_certificate_file: Path | None = None
    schema_registry_key_file: Path | None = None

    @property
    def output_formats(self) -> Mapping[str, str]:
        """The format of each topic that has answers, by logical name."""
        return _formats(self.output_format)

    @field_validator(*(f"schema_registry_{name}" for name in ("url", *_NEEDS_URL)), mode="before")
    @classmethod
    def _empty_registry_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _check_registry_together(self) -> Self:
        if self.schema_registry_url is None:
            if CONFLUENT_FRAMING in self.output_formats.values():
                raise ValueError(
                    f"SIZER_OUTPUT_FORMAT={self.output_format} numbers schemas as a registry does: set"
                    " SIZER_SCHEMA_REGISTRY_URL, or avro-single-object, which needs none"
                )
            for name in _NEEDS_URL:
                if getattr(self, f"schema_registry_{name}") is not None:
                    raise ValueError(
                        f"SIZER_SCHEMA_REGISTRY_{name.upper()} is set but SIZER_SCHEMA_REGISTRY_URL is not: set it, or"
                        " leave both out"
                    )
            return self
        _check_urls(self.schema_registry_url)
        self._check_pair("username", "password")
        self._check_pair("key_file", "certificate_file")
        if self.schema_registry_ca_file is not None:
            trusting(self.schema_registry_ca_file, "SIZER_SCHEMA_REGISTRY_CA_FILE")
        return self

    def _check_pair(self, one: str, other: str) -> None:
        for name, needed in ((one, other), (other, one)):
            if getattr(self, f"schema_registry_{name}") is None:
                continue
            # A certificate's file may hold its key as well.
            if name != "certificate_file" and getattr(self, f"schema_registry_{needed}") is None:
                raise ValueError(
                    f"SIZER_SCHEMA_REGISTRY_{name.upper()} needs SIZER_SCHEMA_REGISTRY_{needed.upper()}, which is not"
                    " set"
                )
