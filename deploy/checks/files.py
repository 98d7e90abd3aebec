"""Files by their own linters."""

import tomllib
from collections.abc import Iterator

import yaml

from deploy.checks.tools import CHART, DEPLOY, ROOT, TOOLS, require, run

_IMAGE_RULES = (
    "DL3059",  # the steps are apart so that a change of ours leaves the layer of the locked requirements as it is
)


def check_files() -> Iterator[str]:
    """Lint YAML, the Dockerfile and shell; compare the versions that they name."""
    rules = DEPLOY / "checks" / "yamllint.yaml"
    run(TOOLS / "yamllint", "--strict", "--config-file", rules, ROOT / "docker-compose.yml", DEPLOY)
    yield "yamllint: the compose file, and what is in deploy/ but for the chart's templates, which are none yet"
    ignored = [part for rule in _IMAGE_RULES for part in ("--ignore", rule)]
    run(TOOLS / "hadolint", *ignored, DEPLOY / "Dockerfile")
    yield "hadolint: the Dockerfile"
    run(TOOLS / "shellcheck", ROOT / ".ci" / "run")
    yield "shellcheck: .ci/run"
    yield f"one version everywhere: {_check_versions()}"


def _check_versions() -> str:
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    require(chart["appVersion"] == version, f"Chart.yaml: appVersion {chart['appVersion']} is not {version}")
    for path, text in (
        (DEPLOY / "Dockerfile", f"ARG VERSION={version}\n"),
        (ROOT / "docker-compose.yml", f"image: position-sizer:{version}\n"),
    ):
        require(text in path.read_text(), f"{path.name}: {text.strip()} expected")
    return version
