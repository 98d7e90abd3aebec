"""Strimzi's resources: what the code makes, in the shape that Strimzi's own definitions have."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import yaml

from deploy.checks.tools import DEPLOY, facts, require


def _object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


_TEXT = {"type": "string", "minLength": 1}
_METADATA = _object(
    {
        "name": {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"},
        "labels": _object({"strimzi.io/cluster": _TEXT}),
    }
)
_OPERATIONS = ["Read", "Write", "Create", "Delete", "Alter", "Describe", "ClusterAction", "AlterConfigs"]
_OPERATIONS += ["DescribeConfigs", "IdempotentWrite", "All"]
_RESOURCE = _object(
    {
        "type": {"enum": ["topic", "group", "cluster", "transactionalId"]},
        "name": _TEXT,
        "patternType": {"enum": ["literal", "prefix"]},
    }
)
_RULE = _object({"resource": _RESOURCE, "operations": {"type": "array", "items": {"enum": _OPERATIONS}, "minItems": 1}})
_SPECS = {
    "KafkaTopic": _object(
        {
            "topicName": {"type": "string", "pattern": r"^[A-Za-z0-9._-]{1,249}$"},
            "partitions": {"type": "integer", "minimum": 1},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 32767},
            "config": {"type": "object"},
        }
    ),
    "KafkaUser": _object(
        {
            "authentication": _object({"type": {"enum": ["tls", "tls-external", "scram-sha-512"]}}),
            "authorization": _object({"type": {"const": "simple"}, "acls": {"type": "array", "items": _RULE}}),
        }
    ),
}


def check_strimzi() -> Iterator[str]:
    """Compare the files with what the code makes, and their shape with what Strimzi 1.x takes."""
    names: set[tuple[str, str]] = set()
    for file, text in facts()["strimzi"].items():
        path = DEPLOY / "strimzi" / file
        require(path.read_text() == text, f"{path}: is not what the code makes: `make strimzi` writes it anew")
        for document in yaml.safe_load_all(text):
            kind, name = document["kind"], document["metadata"]["name"]
            schema = _object(
                {
                    "apiVersion": {"const": "kafka.strimzi.io/v1"},
                    "kind": {"const": kind},
                    "metadata": _METADATA,
                    "spec": _SPECS[kind],
                }
            )
            try:
                jsonschema.validate(document, schema)
            except jsonschema.ValidationError as error:
                require(condition=False, problem=f"{path}: {kind} {name}: {error.message}")
            require((kind, name) not in names, f"{path}: two {kind} are called {name}")
            names.add((kind, name))
    yield f"topics and users are those of topic_specs and acls_of: {len(names)} resources"
    yield "their shape, by a schema of ours: Strimzi's own definitions are in no package"
