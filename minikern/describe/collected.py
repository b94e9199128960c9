"""The folder of a collector: an unpacked sos report, or what gathered /proc and /sys, becomes a Case.

The boot log decides; lspci's text and the kernel's configuration are laid over it, as they are beside a log.
Source: sos, sos/report/plugins/kernel.py, pci.py, boot.py; hwloc, utils/hwloc/hwloc-gather-topology
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hw.errors import InputError
from minikern.describe.alone import is_resource_tree, spec_from_resource_tree
from minikern.describe.beside import Beside, lay_over
from minikern.describe.case import Case
from minikern.describe.dmesg_machine import spec_from_dmesg
from minikern.describe.dmesg_text import looks_like_log

LOGS = ("sos_commands/kernel/dmesg", "var/log/dmesg", "dmesg.txt", "dmesg", "dmesg.log")
PCI = (
    "sos_commands/pci/lspci_-xxxx", "sos_commands/pci/lspci_-nnvv", "sos_commands/pci/lspci_-nvv", "lspci.txt", "lspci"
)  # fmt: skip
CONFIGS = ("boot/config-*", "config-*", "config")
TREES = ("proc/iomem", "sos_commands/hardware/iomem", "iomem.txt", "iomem")


def is_collected(folder: Path) -> bool:
    """True for a folder with a boot log, or a resource tree, where collectors put them."""
    return _log(folder) is not None or _tree(folder) is not None


def spec_from_collected(folder: Path, preset: Callable[[str], Case]) -> Case:
    """The machine of a collector's folder. InputError: damaged files, or files of several machines."""
    log = _log(folder)
    if log is None:
        tree = _tree(folder)
        if tree is None:
            raise InputError(f"{folder}: neither a boot log nor a resource tree where collectors put them")
        spec = spec_from_resource_tree(tree, preset)
    else:
        spec = spec_from_dmesg(log, preset)
    beside = Beside(pci=_first(folder, PCI), config=_first(folder, CONFIGS))
    lay_over(spec, beside, found=True)
    spec.name = folder.name
    found = {"a boot log": log, "lspci's text": beside.pci, "the kernel's configuration": beside.config}
    gone = [what for what, path in found.items() if not path]
    spec.notes += [f"missing: {', '.join(gone)}"] if gone else []
    return spec


def _log(folder: Path) -> Path | None:
    return next((path for path in _places(folder, LOGS) if looks_like_log(path)), None)


def _tree(folder: Path) -> Path | None:
    return next((path for path in _places(folder, TREES) if is_resource_tree(path)), None)


def _first(folder: Path, patterns: tuple[str, ...]) -> str:
    return next((str(path) for path in _places(folder, patterns)), "")


def _places(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from (path for path in sorted(folder.glob(pattern)) if path.is_file() and path.stat().st_size)
