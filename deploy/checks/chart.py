"""The Helm chart: by Helm, by Kubernetes' schemas, and by what it promises."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from deploy.checks.tools import CHART, TOOLS, CheckError, attempt, facts, require, run

_KUBERNETES = ("1.27", "1.32", "1.37")
_OWN_SETTINGS = {
    *("SIZER_BOOTSTRAP_SERVERS", "SIZER_APP_ID", "SIZER_TOPIC_PREFIX", "SIZER_POLICY_FILE", "SIZER_DATA_DIR"),
    *("SIZER_WEB_HOST", "SIZER_WEB_PORT", "SIZER_LOG_FORMAT", "SIZER_SECRETS_DIR"),
}
"""What the chart sets by values of their own."""
_LEAST = ("--set", "kafka.bootstrapServers=kafka:9092")
_REFUSED = {
    "without Kafka": ((), "kafka.bootstrapServers"),
    "more workers than partitions": ((*_LEAST, "--set", "replicas=13"), "13 workers, but only 12 partitions"),
    "a misspelt value": ((*_LEAST, "--set", "replica=2"), "replica"),
    "a misspelt setting": ((*_LEAST, "--set", "settings.SIZER_SESSION_TIMEOUTS=9"), "SIZER_SESSION_TIMEOUTS"),
    "a password in the values": ((*_LEAST, "--set", "settings.SIZER_SASL_PASSWORD=x"), "SIZER_SASL_PASSWORD"),
}


def check_chart() -> Iterator[str]:
    """Lint and render the chart with few and with all values, and judge what comes out."""
    _check_settings()
    yield "the settings that values.schema.json lets through are all that there are, without the secret ones"
    for values in sorted((CHART / "ci").glob("*.yaml")):
        run(TOOLS / "helm", "lint", "--strict", CHART, "--values", values)
        yield f"helm lint --strict: {values.name}"
        documents = _render("--values", str(values))
        unknown = _check_schemas(documents)
        kinds = ", ".join(sorted({document["kind"] for document in documents}))
        yield f"Kubernetes {', '.join(_KUBERNETES)} take what helm template makes of {values.name}: {kinds}"
        if unknown:
            yield f"NOT CHECKED by a schema, as no package has one: {', '.join(sorted(unknown))}"
        for document in documents:
            _check_pods(document)
        yield f"pods of {values.name}: no root, nothing to write to, no capabilities, no token, probes, known settings"
    for what, (arguments, reason) in _REFUSED.items():
        result = attempt(TOOLS / "helm", "template", "test", CHART, *arguments)
        require(result.returncode != 0, f"the chart takes {what}")
        require(reason in result.stdout, f"the chart refuses {what} without saying {reason!r}:\n{result.stdout}")
    yield f"the chart refuses {', '.join(_REFUSED)}"


def _render(*arguments: str) -> list[dict[str, Any]]:
    text = run(TOOLS / "helm", "template", "test", CHART, "--namespace", "trading", *arguments)
    return [document for document in yaml.safe_load_all(text) if document is not None]


def _check_settings() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    offered = set(schema["properties"]["settings"]["properties"])
    public = {name for name, is_secret in facts()["settings"].items() if not is_secret}
    if offered != public - _OWN_SETTINGS:
        missing, surplus = sorted(public - _OWN_SETTINGS - offered), sorted(offered - public | offered & _OWN_SETTINGS)
        raise CheckError(f"values.schema.json: of the settings {missing} are missing, {surplus} must not be there")


def _check_schemas(documents: list[dict[str, Any]]) -> set[str]:
    """Validate, and return the kinds that there is no schema for."""
    unknown = set()
    for document in documents:
        if document["apiVersion"].startswith("monitoring.coreos.com/"):
            unknown.add(document["kind"])
            continue
        for version in _KUBERNETES:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except jsonschema.ValidationError as error:
                where = ".".join(map(str, error.path))
                name = f"{document['kind']} {document['metadata']['name']}"
                raise CheckError(f"Kubernetes {version} does not take {name}: {where}: {error.message}") from None
    return unknown


def _check_pods(document: dict[str, Any]) -> None:
    spec = document.get("spec", {})
    pod = spec if document["kind"] == "Pod" else spec.get("template", {}).get("spec")
    if pod is None:
        return
    where = f"{document['kind']} {document['metadata']['name']}"
    security = pod["securityContext"]
    require(security["runAsNonRoot"] is True and security["runAsUser"] > 0, f"{where}: may run as root")
    require(security["seccompProfile"] == {"type": "RuntimeDefault"}, f"{where}: no seccomp profile")
    require(pod["automountServiceAccountToken"] is False, f"{where}: gets a token of the API server")
    for container in pod["containers"]:
        context = container["securityContext"]
        require(context["readOnlyRootFilesystem"] is True, f"{where}: its root file system can be written")
        require(context["allowPrivilegeEscalation"] is False, f"{where}: may gain privileges")
        require(context["capabilities"] == {"drop": ["ALL"]}, f"{where}: keeps capabilities")
        require("memory" in container["resources"]["limits"], f"{where}: has no limit of memory")
        environment = [variable["name"] for variable in container["env"]]
        require(len(set(environment)) == len(environment), f"{where}: sets a variable twice")
        unknown = set(environment) - set(facts()["settings"]) - {"SIZER_SECRETS_DIR"}
        require(not unknown, f"{where}: no such settings: {', '.join(sorted(unknown))}")
    if document["kind"] == "StatefulSet":
        worker = pod["containers"][0]
        paths = [worker[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")]
        require(paths == ["/livez", "/livez", "/readyz"], f"{where}: probes ask {paths}")
