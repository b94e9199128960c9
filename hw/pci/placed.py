"""The firmware's assignment of a function where it is known, as register values."""

from __future__ import annotations

from hw.pci.config import COMMON, TYPE0, TYPE1, TYPE2, ConfigSpace
from hw.pci.spec import BRIDGE_KINDS, PciFunctionSpec, WindowSpec

CLOSED_IO, CLOSED_MEMORY = 0x00F0, 0x0000_FFF0  # base above limit: forwards nothing
MEMORY_MASK = 0xFFF0_0000
WIDE_WINDOW = 0x1


def encode_assignment(space: ConfigSpace, spec: PciFunctionSpec) -> None:
    """Put the addresses, bus numbers and windows of an ``assigned`` function into its configuration space."""
    space.set(COMMON, "command", spec.command)
    for bar in spec.bars:
        register = 0x10 + 4 * bar.index
        space.put(register, 4, bar.address & 0xFFFF_FFF0 | space.read(register, 4))
        if bar.type == "io":
            space.put(register, 4, bar.address & 0xFFFF_FFFC | 1)
        elif bar.type == "mem64":
            space.put(register + 4, 4, bar.address >> 32)
    bridge = spec.kind in BRIDGE_KINDS
    if space.is_cardbus:
        space.set(TYPE2, "primary", spec.address().bus)
        space.set(TYPE2, "secondary", spec.secondary or 0)
        space.set(TYPE2, "subordinate", spec.subordinate or 0)
        return
    space.set(TYPE1 if bridge else TYPE0, "rom", spec.rom_address & 0xFFFF_F800)
    if bridge:
        _bridge(space, spec)


def _bridge(space: ConfigSpace, spec: PciFunctionSpec) -> None:
    space.set(TYPE1, "primary", spec.address().bus)
    space.set(TYPE1, "secondary", spec.secondary or 0)
    space.set(TYPE1, "subordinate", spec.subordinate or 0)
    space.set(TYPE1, "bridge_control", spec.bridge_control)
    _open_io(space, next((window for window in spec.windows if window.type == "io"), None))
    memory = [window for window in spec.windows if window.type == "mem"]
    _open_memory(space, next((window for window in memory if not window.prefetch), None))
    _open_prefetchable(space, next((window for window in memory if window.prefetch), None))


def _open_io(space: ConfigSpace, window: WindowSpec | None) -> None:
    kind = space.read(TYPE1["io_base"].offset, 2) & 0x0F0F
    if window is None:
        space.put(TYPE1["io_base"].offset, 2, CLOSED_IO | kind)
        return
    space.put(TYPE1["io_base"].offset, 2, window.start >> 8 & 0xF0 | window.end & 0xF000 | kind)
    space.set(TYPE1, "io_base_upper", window.start >> 16 & 0xFFFF)
    space.set(TYPE1, "io_limit_upper", window.end >> 16 & 0xFFFF)


def _open_memory(space: ConfigSpace, window: WindowSpec | None) -> None:
    value = CLOSED_MEMORY if window is None else window.start >> 16 & 0xFFF0 | window.end & MEMORY_MASK
    space.put(TYPE1["memory_base"].offset, 4, value)


def _open_prefetchable(space: ConfigSpace, window: WindowSpec | None) -> None:
    kind = 0 if window is not None and not window.wide else WIDE_WINDOW
    value = CLOSED_MEMORY if window is None else window.start >> 16 & 0xFFF0 | window.end & MEMORY_MASK
    space.put(TYPE1["pref_base"].offset, 4, value | kind | kind << 16)
    if window is not None and window.wide:
        space.set(TYPE1, "pref_base_upper", window.start >> 32)
        space.set(TYPE1, "pref_limit_upper", window.end >> 32)
