"""Run all checks; each prints what it found in order. The status is 1 if one failed, with the reason."""

import sys
import time

from deploy.checks.chart import check_chart
from deploy.checks.compose import check_compose
from deploy.checks.files import check_files
from deploy.checks.image import check_image
from deploy.checks.strimzi import check_strimzi
from deploy.checks.systemd import check_systemd
from deploy.checks.tools import Check, CheckError

_CHECKS: tuple[Check, ...] = (check_files, check_compose, check_chart, check_strimzi, check_systemd, check_image)


def main() -> int:
    """Run every check, also after one that failed, and tell."""
    begun = time.monotonic()
    failed = 0
    for check in _CHECKS:
        name = check.__name__.removeprefix("check_")
        try:
            for line in check():
                print(f"{name:8} {line}", flush=True)
        except CheckError as error:
            failed += 1
            print(f"{name:8} FAILED: {error}", flush=True)
    print(f"{len(_CHECKS) - failed} passed, {failed} failed")
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
