"""The data folder belongs to one worker at a time."""

import fcntl
from pathlib import Path
from typing import IO

from app.errors import UserError


def own(data_dir: Path) -> IO[str]:
    """Create the folder if need be and lock it; it is ours until the returned file is closed or the process ends.

    Raises UserError if another worker has it, or if it cannot be written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / "worker.lock").open("w")
    except OSError as error:
        raise UserError(
            f"SIZER_DATA_DIR={data_dir} cannot be written ({error.strerror}): name a folder that can"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(
            f"SIZER_DATA_DIR={data_dir} is in use by another worker: give each worker a folder of its own"
        ) from None
    return file
