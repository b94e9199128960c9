"""Where the names live that ``import minikern`` offers; nothing is loaded before it is asked for.

    import minikern
    b = minikern.boot("lpc2023", variant="hvo-skip")
    b.log, b.phases, b.ledger.to_frame(), b.timeline, b.kernel.zones
    minikern.compare("server.log").to_frame()
    minikern.fit(["a.log", "b.log"]).machine.save("mine.toml")
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

VERSION = "0.2.0"
HOMES = {
    "Boot": "minikern.api.boots",
    "BootStopped": "minikern.lab.run",
    "Comparison": "minikern.api.comparisons",
    "Fit": "minikern.api.fits",
    "InputError": "hw.errors",
    "Machine": "minikern.api.machines",
    "Records": "minikern.api.records",
    "algorithm": "minikern.lab.algorithms",
    "boot": "minikern.api.boots",
    "compare": "minikern.api.comparisons",
    "fit": "minikern.api.fits",
    "machine": "minikern.api.machines",
    "machines": "minikern.api.machines",
}


def offered(name: str) -> Any:
    """What ``name`` is. KeyError for a name that is not offered."""
    return getattr(import_module(HOMES[name]), name)
