"""minikern: a boot-path emulator for the Linux x86-64 boot path.

    import minikern
    b = minikern.boot("lpc2023", variant="hvo-skip")
    b.log, b.phases, b.ledger.to_frame(), b.timeline, b.kernel.zones
    minikern.compare("server.log").to_frame()
    minikern.fit(["a.log", "b.log"]).machine.save("mine.toml")

A machine is a preset's name, a TOML file, a captured folder or archive, or a boot log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.api.offered import HOMES, VERSION, offered

if TYPE_CHECKING:
    from hw.errors import InputError as InputError
    from minikern.api.boots import Boot as Boot
    from minikern.api.boots import boot as boot
    from minikern.api.comparisons import Comparison as Comparison
    from minikern.api.comparisons import compare as compare
    from minikern.api.fits import Fit as Fit
    from minikern.api.fits import fit as fit
    from minikern.api.machines import Machine as Machine
    from minikern.api.machines import machine as machine
    from minikern.api.machines import machines as machines
    from minikern.api.records import Records as Records
    from minikern.lab.algorithms import algorithm as algorithm
    from minikern.lab.run import BootStopped as BootStopped

__version__ = VERSION

__all__ = [
    "Boot", "BootStopped", "Comparison", "Fit", "InputError", "Machine", "Records",
    "algorithm", "boot", "compare", "fit", "machine", "machines",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Loaded when somebody asks: importing the package costs nothing.
    if name in HOMES:
        return offered(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
