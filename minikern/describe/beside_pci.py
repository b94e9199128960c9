"""An lspci text laid over a machine: with its functions' bytes (-xxxx, -xxx), or only what it says in words (-vnn)."""

from __future__ import annotations

from pathlib import Path

from hw.errors import InputError
from hw.pci.spec import EcamSpec, PciFunctionSpec, PciSpec
from minikern.describe.cards import without_cards
from minikern.describe.case import Case
from minikern.describe.lspci_text import described_functions
from minikern.describe.lspci_tree import UNKNOWN_ID, is_tree, pci_of_tree
from minikern.describe.pci_capture import host_bridges_of, pci_from_capture
from minikern.describe.pci_ranges import root_windows
from minikern.describe.pci_sizes import addresses_of, told_sizes, with_sizes
from minikern.describe.vmd import domains_of_vmd
from minikern.host.output import scratch_folder

LAST_SEGMENT = 0xFFFF  # domains beyond are those drivers make. Source: drivers/pci/controller/vmd.c @ v6.12


def lay_pci(spec: Case, path: Path, text: str) -> None:
    """Put the text's functions in the place of those of ``spec``. InputError: it has none, or another machine's."""
    found, cards = _with_bytes(path, text), 0
    if found.functions:
        found.functions, cards = without_cards(found.functions)
        found.host_bridges = host_bridges_of(found)
    tree = not found.functions and is_tree(text)
    if tree:
        found = pci_of_tree(text, str(path))
    elif not found.functions:
        functions, cards = without_cards(described_functions(text))
        found = PciSpec(functions=functions)
        found.host_bridges = host_bridges_of(found)
    if not found.functions:
        raise InputError(f"{path}: no function with its bytes or ids: expected lspci -xxxx, -xxx, -vnn or -t")
    _same_machine(spec, path, {one.bdf for one in found.functions})
    logged = {str(one.address()): one for one in spec.pci.functions}
    sizes = told_sizes(text)
    raw = [one for one in found.functions if one.raw]
    if raw:
        taken = sorted(address for one in found.functions for address in addresses_of(one))
        found.functions = [with_sizes(one, logged.get(one.bdf), sizes, taken) for one in found.functions]
        if set(logged) != {one.bdf for one in raw} or not any(one.bars for one in logged.values()):
            spec.notes.append(f"assumed: sizes of PCI regions that neither the log nor {path.name} tells, by class")
    elif tree:
        _from_the_log(spec, path, found, logged)
    else:
        spec.notes.append(f"assumed: registers of PCI functions that {path.name} does not tell in words")
    if cards:
        spec.notes.append(f"assumed: none of {cards} PCI functions in CardBus slots: their driver finds them later")
    _segments(spec, path, found)
    found.ecam_base, found.ecam_start_bus = spec.pci.ecam_base, spec.pci.ecam_start_bus
    found.ecam_end_bus = spec.pci.ecam_end_bus
    _windows(spec, found)
    spec.pci = found
    spec.notes.append(f"read: {len(found.functions)} PCI functions of {path.name}")


def _from_the_log(spec: Case, path: Path, found: PciSpec, logged: dict[str, PciFunctionSpec]) -> None:
    """A tree tells where functions are; what they are tells the log, where there is one."""
    told = bool(spec.told.get("PCI functions"))
    found.functions = [logged.get(one.bdf, one) if told else one for one in found.functions]
    new = [one for one in found.functions if not told or one.bdf not in logged]
    nameless = sum(one.id == UNKNOWN_ID for one in new)
    if new:
        spec.notes.append(f"assumed: classes and registers of {len(new)} PCI functions of the tree in {path.name}")
    if nameless:
        spec.notes.append(f"assumed: no vendor of {nameless} PCI functions, as {path.name} has no ids: lspci -tvnn has")


def _with_bytes(path: Path, text: str) -> PciSpec:
    with scratch_folder() as folder:
        written = folder.write("pci/lspci-xxxx.txt", text)
        try:
            return pci_from_capture(folder.path)
        except InputError as error:
            raise InputError(str(error).replace(str(written), str(path))) from None


def _same_machine(spec: Case, path: Path, addresses: set[str]) -> None:
    logged = {one.bdf for one in spec.pci.functions}
    full = {address if address.count(":") == 2 else f"0000:{address}" for address in addresses}
    if spec.told.get("PCI functions") and not logged & (addresses | full):
        raise InputError(f"{path}: functions of another machine: none of the {len(logged)} that the log names is here")


def _windows(spec: Case, found: PciSpec) -> None:
    """Host bridges keep the windows a log gives them; else they get those that hold all that is behind them."""
    known = {(one.segment, one.first_bus): one for one in spec.pci.host_bridges}
    logged = bool(spec.told.get("PCI functions"))
    for bridge in found.host_bridges:
        before = known.get((bridge.segment, bridge.first_bus))
        if before is not None:
            bridge.pxm, bridge.osc = before.pxm, before.osc
        bridge.windows = before.windows if before is not None and logged else root_windows(found, bridge)


def _segments(spec: Case, path: Path, found: PciSpec) -> None:
    """Windows for segments other than 0, where the firmware's tables are made; without a window they are left out."""
    domains_of_vmd(found)
    behind = {one.domain for one in found.vmd}
    if behind:
        names = ", ".join(f"{one:04x}" for one in sorted(behind))
        spec.notes.append(f"assumed: PCI domains {names} in the order of Intel's VMD endpoints, with a built-in driver")
    others = {one.address().segment for one in found.functions} - {0} - behind
    if others and not spec.e820:  # the tables are still to be made
        found.segments = [EcamSpec(segment) for segment in sorted(others) if segment <= LAST_SEGMENT]
        if found.segments:
            names = ", ".join(f"{one.segment:04x}" for one in found.segments)
            spec.notes.append(f"assumed: places of the configuration windows of PCI segments {names}")
    else:
        found.segments = [one for one in spec.pci.segments if one.segment in others]
    lost = others - {one.segment for one in found.segments}
    if lost:
        before = len(found.functions)
        found.functions = [one for one in found.functions if one.address().segment not in lost]
        found.host_bridges = [one for one in found.host_bridges if one.segment not in lost]
        names = ", ".join(f"{one:04x}" for one in sorted(lost))
        why = "domains of a driver whose device is not there, or without a configuration window"
        spec.notes.append(f"assumed: none of {before - len(found.functions)} functions in PCI domains {names}: {why}")
