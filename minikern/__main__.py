"""``minikern`` and ``python -m minikern``: signals first, then the terminal, then everything else."""

from __future__ import annotations

import gc
from typing import NoReturn

from minikern.host.collector import OBJECTS_BETWEEN_LOOKS
from minikern.host.ending import install, leave


def run() -> NoReturn:
    """Run the command line and end with its status."""
    install()
    gc.set_threshold(*OBJECTS_BETWEEN_LOOKS)
    from minikern.host.terminal import guard

    guard()
    leave(_status())


def _status() -> int:
    from minikern.cli import main

    try:
        main(prog_name="minikern")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


if __name__ == "__main__":
    run()
