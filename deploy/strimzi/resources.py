"""Topics and ACLs in Strimzi's words. All that they say comes from `topic_specs` and `acls_of`."""

import json
import re
from collections.abc import Iterator

from app.settings import Settings
from app.stream.acls import Acl, Resource, Role, acls_of
from app.stream.topics import DURABLE, REPLICAS, topic_specs

CLUSTER = "kafka"
PARTITIONS = 12
"""What docs/scaling.md advises for three workers that grow to twelve."""

_RESOURCES = {Resource.TOPIC: "topic", Resource.GROUP: "group", Resource.TRANSACTIONAL_ID: "transactionalId"}
_TOPICS_HEADER = """\
# Made by `make strimzi` from what the worker checks at its start; change nothing here by hand but the label
# strimzi.io/cluster, and before the first use the number of partitions, of all topics alike. It can never change
# afterwards. Deleting one of these resources deletes the topic with its records, unless it was annotated before with
# strimzi.io/managed: "false".
"""
_USERS_HEADER = """\
# Made by `make strimzi`: one user for each part of a deployment, with the least that it needs. Strimzi puts each one's
# certificate and key into a secret of its name. For passwords: authentication.type scram-sha-512.
"""


def topics_document(settings: Settings) -> str:
    """Return a KafkaTopic for each topic of these settings, as YAML."""
    return _TOPICS_HEADER + "".join(_topics(settings))


def users_document(settings: Settings) -> str:
    """Return a KafkaUser for each role on these settings, as YAML."""
    return _USERS_HEADER + "".join(_user(settings, role) for role in Role)


def _topics(settings: Settings) -> Iterator[str]:
    for spec in topic_specs(settings):
        yield _head("KafkaTopic", spec.name)
        yield f"spec:\n  topicName: {spec.name}\n  partitions: {PARTITIONS}\n  replicas: {REPLICAS}\n  config:\n"
        for name, value in {**spec.config, **DURABLE}.items():
            # Numbers as numbers, as everybody writes them; Strimzi takes both.
            yield f"    {name}: {value if value.isdecimal() else json.dumps(value)}\n"


def _user(settings: Settings, role: Role) -> str:
    lines = [
        _head("KafkaUser", f"{settings.app_id}-{role}"),
        "spec:\n  authentication:\n    type: tls\n  authorization:\n    type: simple\n    acls:\n",
        *(_rule(acl) for acl in acls_of(settings, role)),
    ]
    return "".join(lines)


def _rule(acl: Acl) -> str:
    pattern = "prefix" if acl.is_prefix else "literal"
    return (
        f"      # {acl.reason}\n"
        f"      - resource: {{type: {_RESOURCES[acl.resource]}, name: {acl.name}, patternType: {pattern}}}\n"
        f"        operations: [{', '.join(acl.operations)}]\n"
    )


def _head(kind: str, name: str) -> str:
    kubernetes_name = re.sub(r"[^a-z0-9.-]", "-", name.lower())
    return (
        "---\napiVersion: kafka.strimzi.io/v1\n"
        f"kind: {kind}\nmetadata:\n  name: {kubernetes_name}\n  labels:\n    strimzi.io/cluster: {CLUSTER}\n"
    )
