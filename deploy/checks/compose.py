"""The compose file: by compose's own loader, and by what it promises."""

import json
import re
from collections.abc import Iterator
from typing import Any

from deploy.checks.tools import ROOT, TOOLS, facts, require, run

_PINNED = re.compile(r"[a-z0-9./-]+:[A-Za-z0-9._-]*\d[A-Za-z0-9._-]*@sha256:[0-9a-f]{64}")
_OURS = re.compile(r"position-sizer:\d+\.\d+\.\d+")


def load() -> dict[str, Any]:
    """Return the services as compose sees them, merged and normalized; what they refer to is there."""
    document = json.loads(run(TOOLS / "compose-spec", "--format", "json", ROOT / "docker-compose.yml"))
    services: dict[str, Any] = document["services"]
    for name, service in services.items():
        missing = {
            *(set(service.get("depends_on", {})) - set(services)),
            *(set(service.get("networks", {})) - set(document.get("networks", {}))),
            *(
                {volume["source"] for volume in service.get("volumes", []) if volume["type"] == "volume"}
                - _volumes(document)
            ),
        }
        require(not missing, f"docker-compose.yml: {name}: there is no {', '.join(sorted(missing))}")
    return services


def _volumes(document: dict[str, Any]) -> set[str]:
    return set(document.get("volumes", {}))


def check_compose() -> Iterator[str]:
    """Check what compose loads, service by service."""
    services = load()
    yield f"compose-go, which `docker compose` loads files with, takes docker-compose.yml: {', '.join(services)}"
    for name, service in services.items():
        _check_service(f"docker-compose.yml: {name}", service, services)
    yield "images by version and digest, health checks, conditions, limits, no capabilities, ports on this machine only"


def _check_service(where: str, service: dict[str, Any], services: dict[str, Any]) -> None:
    is_ours = "build" in service
    image = service["image"]
    require((_OURS if is_ours else _PINNED).fullmatch(image), f"{where}: image {image} is not pinned")
    require(service.get("cap_drop") == ["ALL"], f"{where}: cap_drop must be [ALL]")
    require("no-new-privileges:true" in service.get("security_opt", []), f"{where}: no-new-privileges is missing")
    require(not service.get("privileged") and service.get("user") not in ("root", "0"), f"{where}: runs as root")
    if is_ours:
        require(service.get("read_only") is True, f"{where}: its root file system can be written")
        unknown = {key for key in service.get("environment", {}) if key.startswith("SIZER_")} - set(facts()["settings"])
        require(not unknown, f"{where}: no such settings: {', '.join(sorted(unknown))}")
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    require({"cpus", "memory", "pids"} <= set(limits), f"{where}: limits of cpus, memory and pids are needed")
    for port in service.get("ports", []):
        require(port.get("host_ip") == "127.0.0.1", f"{where}: port {port['target']} is open to other machines")
    is_job = service.get("healthcheck", {}).get("disable") is True
    waits = [other["depends_on"][name] for name, other in _waiting(where, services)]
    if is_job:
        require(
            waits and all(wait["condition"] == "service_completed_successfully" for wait in waits),
            f"{where}: has no health check, so somebody must wait for its end",
        )
    elif not (is_ours and "healthcheck" not in service):  # else that of the image
        require(service.get("healthcheck", {}).get("test"), f"{where}: has no health check")
    for other, wait in service.get("depends_on", {}).items():
        require(wait["condition"] != "service_started", f"{where}: waits for the start of {other}, not for its health")


def _waiting(where: str, services: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = where.rpartition(" ")[2]
    return ((name, other) for other in services.values() if name in other.get("depends_on", {}))
