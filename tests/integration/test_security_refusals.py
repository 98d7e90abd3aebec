"""Every way in; and who is not let in, or is not allowed something, is told why in one line."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from app.errors import Doubt, UserError
from app.settings import load_settings
from app.stream import clients
from app.stream.acls import Acl, Operation, Resource, Role, acls_of
from app.stream.clients import BrokerUnavailableError, connect_admin
from app.topics import PHASE_EVENTS, SIZED_ORDERS
from tests.integration.cluster import Deployment, Worker
from tests.integration.locks import (
    CLIENT_SECRET,
    LONGEST_SESSION,
    PASSWORD,
    PLAIN_USER,
    Certificates,
    LockedBroker,
    environment,
)
from tests.integration.traffic import Traffic

SEED = 20261127

DOORS: dict[str, Callable[[LockedBroker, str], dict[str, str]]] = {
    "scram-512": lambda locked, user: locked.by_password(user, "SCRAM-SHA-512"),
    PLAIN_USER: lambda locked, user: locked.by_password(user, "PLAIN"),
    "certificate": lambda locked, user: locked.by_certificate(user),
    "token": lambda locked, user: locked.by_token(user),
}


@contextmanager
def workers(
    locked: LockedBroker, folder: Path, doors: Mapping[str, dict[str, str]], lacks: Mapping[str, Acl] | None = None
) -> Iterator[dict[str, Deployment]]:
    """Start a worker for each of these users, with a deployment of its own; all at the same time.

    `lacks`: by user, what it is not allowed though it needs it.
    """
    deployments = {}
    try:
        for user, settings in doors.items():
            deployment = Deployment(locked.open_server, user, folder / user, partitions=2)
            deployments[user] = deployment
            deployment.folder.mkdir()
            deployment.create_topics()
            locked.allow(user, acls_of(deployment.settings, Role.WORKER))
            if lacks and user in lacks:
                locked.forbid(user, lacks[user])
            deployment.start(**environment(settings))
        yield deployments
    finally:
        for deployment in deployments.values():
            deployment.close()


def test_every_way_in_leads_to_answers(locked: LockedBroker, tmp_path: Path) -> None:
    doors = {user: make(locked, user) for user, make in DOORS.items()}
    with workers(locked, tmp_path, doors) as deployments:
        for deployment in deployments.values():
            deployment.workers[0].wait_for("ready")
            deployment.send(Traffic(SEED).signals(10))
        for user, deployment in deployments.items():
            deployment.wait_for_answers(10)
            worker = deployment.workers[0]
            assert worker.stop() == 0, user
            assert PASSWORD not in worker.said
            assert CLIENT_SECRET not in worker.said


class Refused(NamedTuple):
    """Settings with which nobody is let in, and what is said."""

    overrides: dict[str, str | None]
    said: tuple[str, ...]


def refused(locked: LockedBroker) -> Iterator[Refused]:
    """Give ways not to be let in."""
    password: dict[str, str | None] = {**locked.by_password("honest")}
    certificate: dict[str, str | None] = {**locked.by_certificate("honest")}
    token: dict[str, str | None] = {**locked.by_token("x")}
    others = Certificates(locked.certificates.ca_file.parent / "others")
    strange = str(others.issue("stranger"))
    wrong_token = {name: value for name, value in token.items() if name.startswith("oauth")}
    yield Refused(
        password | {"sasl_password": "wrong"},
        ("do not let User:honest in", "invalid credentials", "SIZER_SASL_USERNAME and SIZER_SASL_PASSWORD"),
    )
    yield Refused(
        password | {"sasl_mechanism": "PLAIN", "sasl_username": "nobody"},
        ("User:nobody", "Invalid username or password"),
    )
    yield Refused(
        password | {"ssl_ca_file": str(others.ca_file)}, ("is not trusted: unable to get", "set SIZER_SSL_CA_FILE")
    )
    yield Refused(
        password | {"bootstrap_servers": locked.server("PASSWORDS", "localhost")},
        ("localhost", "Hostname mismatch", "SIZER_BOOTSTRAP_SERVERS"),
    )
    yield Refused(certificate | {"bootstrap_servers": locked.server("OUTDATED")}, ("has expired", "renewed"))
    yield Refused(
        certificate | {"ssl_certificate_file": None, "ssl_key_file": None, "ssl_key_password": None},
        ("wants a certificate of its clients", "SIZER_SSL_CERTIFICATE_FILE"),
    )
    yield Refused(
        certificate | {"ssl_certificate_file": strange, "ssl_key_file": strange, "ssl_key_password": None},
        ("does not take the certificate of User:CN=stranger", "CA that the broker trusts"),
    )
    yield Refused({"bootstrap_servers": locked.server("PASSWORDS")}, ("speaks TLS", "SIZER_SECURITY_PROTOCOL"))
    yield Refused(token | {"oauth_client_secret": "wrong"}, ("gives x no token", "invalid_client"))
    yield Refused(
        password | wrong_token | {"sasl_mechanism": "OAUTHBEARER", "sasl_username": None, "sasl_password": None},
        ("SASL OAUTHBEARER mechanism", "SIZER_SASL_MECHANISM=OAUTHBEARER"),
    )


def test_who_is_not_let_in_is_told_why(locked: LockedBroker) -> None:
    def told(case: Refused) -> UserError:
        with pytest.raises(UserError) as refusal:
            connect_admin(load_settings(**case.overrides))
        return refusal.value

    cases = list(refused(locked))
    with ThreadPoolExecutor(len(cases)) as pool:
        for case, error in zip(cases, pool.map(told, cases), strict=True):
            assert not isinstance(error, BrokerUnavailableError), error  # waiting would not help
            assert not [text for text in case.said if text not in str(error)], error
            assert "\n" not in str(error)
            assert PASSWORD not in str(error)


def test_what_may_not_be_the_right_port_is_waited_for_with_a_hint(locked: LockedBroker) -> None:
    certificate = locked.by_certificate("honest")
    hints = {locked.open_server: "speaks no TLS", locked.server("PASSWORDS"): "is there, but does not answer"}
    for server, hint in hints.items():
        with pytest.raises(BrokerUnavailableError) as told:
            connect_admin(load_settings(**certificate | {"bootstrap_servers": server}))
        assert f"{server} {hint}; is SIZER_SECURITY_PROTOCOL=SSL that of this port?" in str(told.value)


def only_line(worker: Worker) -> str:
    """Wait until a worker has refused, and return the one line that it told."""
    assert worker.wait() == 2, worker.said
    assert "Traceback" not in worker.said
    assert PASSWORD not in worker.said
    (line,) = [line for line in worker.lines if line.startswith("sizer: ")]
    return line


def test_a_worker_that_is_not_allowed_something_says_what(locked: LockedBroker, tmp_path: Path) -> None:
    events = f"no-events.{PHASE_EVENTS}"
    lacks = {
        "no-group": Acl(Resource.GROUP, "no-group", (Operation.READ,), ""),
        "no-id": Acl(Resource.TRANSACTIONAL_ID, "no-id-", (Operation.WRITE,), "", is_prefix=True),
        "no-events": Acl(Resource.TOPIC, events, (Operation.WRITE, Operation.DESCRIBE_CONFIGS), ""),
    }
    said = {
        "no-group": "Read on group no-group",
        "no-id": "Write on transactional ids that begin with no-id-",
        "no-events": f"Write, DescribeConfigs on topic {events}",
    }
    doors = {user: locked.by_password(user) for user in (*lacks, "wrong", "patient")}
    doors["wrong"]["sasl_password"] = "wrong"
    # What brokers take it may not look up: they say so when it joins.
    doors["patient"]["session_timeout"] = str(LONGEST_SESSION + 1)
    with workers(locked, tmp_path, doors, lacks) as deployments:
        for user, what in said.items():
            line = only_line(deployments[user].workers[0])
            assert line.startswith(
                f"sizer: User:{user} is not allowed {what}: `sizer acls worker --principal User:{user}`"
            )
        assert "do not let User:wrong in" in only_line(deployments["wrong"].workers[0])
        assert f"SIZER_SESSION_TIMEOUT={LONGEST_SESSION + 1}: " in only_line(deployments["patient"].workers[0])


def test_what_is_taken_back_ends_a_worker_in_doubt_and_the_next_refuses(locked: LockedBroker, tmp_path: Path) -> None:
    doors = {user: locked.by_password(user) for user in ("lost-topic", "lost-group")}
    with workers(locked, tmp_path, doors) as deployments:
        for deployment in deployments.values():
            deployment.workers[0].wait_for("ready")
        orders = deployments["lost-topic"].settings.topic(SIZED_ORDERS)
        locked.forbid("lost-topic", Acl(Resource.TOPIC, orders, (Operation.WRITE,), ""))
        deployments["lost-topic"].send(Traffic(SEED).signals(10))
        locked.forbid("lost-group", Acl(Resource.GROUP, "lost-group", (Operation.READ,), ""))
        for user, text in (("lost-topic", "Topic authorization failed"), ("lost-group", "Read on group lost-group")):
            worker = deployments[user].workers[0]
            assert worker.wait() == 70, worker.said
            assert text in worker.said
            assert f"User:{user}" in worker.said
            assert "Traceback" not in worker.said
        line = only_line(deployments["lost-topic"].start(**environment(doors["lost-topic"])))
        assert f"User:lost-topic is not allowed Write on topic {orders}: " in line


def test_a_password_that_is_changed_under_a_worker_is_a_doubt_in_time(
    locked: LockedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "REQUEST_SECONDS", 0.5)
    settings = load_settings(**locked.by_password("changed"))
    locked.set_password("changed", password="another one")
    ends = clients.LogEnds(settings)
    # A broker that has just started may not know it yet, so not at the first look.
    for _ in range(3):
        assert ends.find([("changed.signals", 0)]) == {}
    with pytest.raises(Doubt, match=r"do not let this worker in any more.*invalid credentials.*as User:changed"):
        ends.find([("changed.signals", 0)])
