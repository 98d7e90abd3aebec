"""The systemd unit, by systemd's own tool where there is one."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.checks.tools import DEPLOY, attempt, facts, require

_UNIT = DEPLOY / "systemd" / "position-sizer@.service"
_WORST_EXPOSURE = 2.0


def check_systemd() -> Iterator[str]:
    """Verify the unit, and that its settings are known."""
    text = _UNIT.read_text() + (DEPLOY / "systemd" / "worker.env").read_text()
    unknown = set(re.findall(r"\b(SIZER_[A-Z_]+)=", text)) - set(facts()["settings"]) - {"SIZER_SECRETS_DIR"}
    require(not unknown, f"{_UNIT}: no such settings: {', '.join(sorted(unknown))}")
    yield "the settings of the unit and its environment file exist"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        yield "NOT CHECKED: the unit itself, as there is no systemd-analyze here"
        return
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is installed where the unit says, which would be found wrong.
        copy = Path(folder) / "position-sizer@a.service"
        copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", _UNIT.read_text(), flags=re.MULTILINE))
        verdict = attempt(analyze, "verify", copy)
        require(verdict.returncode == 0 and not verdict.stdout, f"{_UNIT}: {verdict.stdout}")
        yield "systemd-analyze verify: the unit"
        security = attempt(analyze, "security", "--offline=true", "--no-pager", copy).stdout
    found = re.search(r"exposure level for \S+: ([\d.]+)", security)
    if found is None:
        yield "NOT CHECKED: the unit's exposure, as this systemd-analyze is too old"
        return
    require(float(found[1]) <= _WORST_EXPOSURE, f"{_UNIT}: its exposure is {found[1]}, more than {_WORST_EXPOSURE}")
    yield f"systemd-analyze security: exposure {found[1]} of 10"
