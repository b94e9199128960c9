"""From a function's description (or its captured bytes) to its configuration space with write masks."""

from __future__ import annotations

from hw.pci.config import (
    ACS,
    AER,
    ARI,
    CAP_ID,
    CAP_IDS,
    COMMON,
    CONFIG_BYTES,
    DPC,
    DSN,
    EXT_CONFIG_BYTES,
    EXT_ID,
    EXT_IDS,
    MSI,
    MSI_X,
    PCIE,
    PM,
    PORT_TYPES,
    SRIOV,
    TYPE0,
    TYPE1,
    TYPE2,
    ConfigSpace,
    Structure,
)
from hw.pci.placed import encode_assignment
from hw.pci.spec import BRIDGE_KINDS, PCIE_KINDS, BarSpec, PciFunctionSpec, VirtualFunctions

ROM_ADDRESS = 0xFFFF_F800  # Source: PCI Local Bus Specification 3.0, 6.2.5.2
BAR_TYPE = {"io": 1, "mem32": 0, "mem64": 4}
INTEL, CLASS_ISA_BRIDGE = 0x8086, 0x0601
PIIX_IDS = frozenset({0x122E, 0x7000, 0x7110})  # with four links instead of eight
PME_BITS = {"D0": 0x0800, "D1": 0x1000, "D2": 0x2000, "D3hot": 0x4000, "D3cold": 0x8000}
ACS_DOUBLE_WORDS = ((0xA110, 0xA11F), (0xA167, 0xA16A), (0xA290, 0xA29F), (0xA2E7, 0xA2EE), (0x9D10, 0x9D1B))
ACS_DOUBLE_WORD_CONTROL = 8
ACS_BITS = 0x1D  # source validation, request and completion redirect, upstream forwarding
DECODE_32_BIT_IO, DECODE_64_BIT_MEMORY = 0x1, 0x1
HEADER_CARDBUS = 2
NO_MEANING = 0x0000  # the null capability. Source: PCI Express Base Specification, 7.9.28
FIRST_CAPABILITY, LATE_CAPABILITIES = 0x40, 0x80
HOT_PLUG_CAPABLE, LINK_ACTIVE_REPORTING = 0x40, 1 << 20
LINKLESS_KINDS = ("rciep", "event_collector")  # inside the root complex


def build_config(spec: PciFunctionSpec, multifunction: bool) -> ConfigSpace:
    """Configuration space of one function as it is after reset (described) or as captured (raw)."""
    space = ConfigSpace(spec.raw) if spec.raw else _encode(spec, multifunction)
    install_masks(space, spec.bars, spec.rom_size)
    if spec.virtual is not None:
        _virtual_masks(space, spec.virtual)
    return space


def _encode(spec: PciFunctionSpec, multifunction: bool) -> ConfigSpace:
    pcie = spec.kind in PCIE_KINDS
    space = ConfigSpace(bytes(EXT_CONFIG_BYTES if pcie else CONFIG_BYTES))
    bridge = spec.kind in BRIDGE_KINDS
    vendor, device = (int(part, 16) for part in spec.id.split(":"))
    space.set(COMMON, "vendor", vendor)
    space.set(COMMON, "device", device)
    space.set(COMMON, "revision", spec.revision)
    space.set(COMMON, "class_code", spec.class_code)
    kind = 1 if bridge else HEADER_CARDBUS if spec.kind == "cardbus" else 0
    space.set(COMMON, "header_type", (0x80 if multifunction else 0) | kind)
    header = _header(space)
    space.set(header, "interrupt_pin", spec.interrupt_pin)
    for bar in spec.bars:
        space.put(0x10 + 4 * bar.index, 4, BAR_TYPE[bar.type] | (8 if bar.prefetch else 0))
    if bridge:
        space.set(TYPE1, "io_base", DECODE_32_BIT_IO)
        space.set(TYPE1, "io_limit", DECODE_32_BIT_IO)
        space.set(TYPE1, "pref_base", DECODE_64_BIT_MEMORY)
        space.set(TYPE1, "pref_limit", DECODE_64_BIT_MEMORY)
    else:
        subvendor, subsystem = (int(part, 16) for part in spec.subsystem.split(":"))
        space.set(header, "subsystem_vendor", subvendor)
        space.set(header, "subsystem", subsystem)
    _encode_capabilities(space, spec, pcie)
    if pcie:
        _encode_ext_capabilities(space, spec)
    if spec.assigned:
        encode_assignment(space, spec)
    for register in spec.registers:
        space.put(register.offset, 4, register.value)
    return space


def _header(space: ConfigSpace) -> Structure:
    return TYPE1 if space.is_bridge else TYPE2 if space.is_cardbus else TYPE0


def _encode_capabilities(space: ConfigSpace, spec: PciFunctionSpec, pcie: bool) -> None:
    chain: list[tuple[Structure, dict[str, int]]] = []
    if "pm" in spec.capabilities or spec.pme or spec.low_power:
        pme = sum(PME_BITS[state] for state in spec.pme)
        low = sum(bit for state, bit in (("D1", 0x0200), ("D2", 0x0400)) if state in (*spec.pme, *spec.low_power))
        chain.append((PM, {"cap": 3 | low | pme}))
    if "msi" in spec.capabilities:
        chain.append((MSI, {"control": 0x0080}))
    if "msix" in spec.capabilities:
        chain.append((MSI_X, {"control": 0x001F}))
    if pcie:
        chain.append((PCIE, _pcie_values(spec)))
    own = space.is_cardbus or any(register.offset < LATE_CAPABILITIES for register in spec.registers)
    at = LATE_CAPABILITIES if own else FIRST_CAPABILITY  # behind a function's own registers
    link = TYPE2["capabilities"].offset if space.is_cardbus else 0x34
    for structure, values in chain:
        space.put(link, 1, at)
        space.put(at, 1, CAP_ID[structure.name])
        for name, value in values.items():
            space.set(structure, name, value, at)
        link, at = at + 1, (at + structure.size + 3) & ~3
    if chain:
        space.set(COMMON, "status", 0x0010)


def _pcie_values(spec: PciFunctionSpec) -> dict[str, int]:
    slot = spec.hotplug and spec.kind in ("root_port", "downstream")
    values = {
        "flags": 2 | PORT_TYPES[spec.kind] << 4 | (0x100 if slot else 0),
        "device_cap": 0x8000 | (0x20 if spec.ext_tag else 0) | 1,
        "device_control": 0x2810,
    }
    if spec.kind not in LINKLESS_KINDS:
        values["link_cap"] = 0x0043_0104 if spec.kind == "endpoint" else 0x0073_0104
        values["link_status"] = 0x3104
    if spec.link is not None:
        values["link_cap"] = spec.link.max_speed | spec.link.max_width << 4
        values["link_status"] = spec.link.speed | spec.link.width << 4
    if spec.kind in ("root_port", "downstream"):
        values["device_cap2"] = 0x20  # ARI forwarding
    if slot:
        values["slot_cap"] = 0x60
        if spec.slot is not None:
            values["slot_cap"] = spec.slot.capabilities | HOT_PLUG_CAPABLE
            values["slot_cap2"] = int(spec.slot.inband_disable)
            link = values["link_cap"] & ~LINK_ACTIVE_REPORTING
            values["link_cap"] = link | (LINK_ACTIVE_REPORTING if spec.slot.link_active else 0)
    return values


def _encode_ext_capabilities(space: ConfigSpace, spec: PciFunctionSpec) -> None:
    chain: list[tuple[Structure, int, dict[str, int]]] = []
    if "aer" in spec.capabilities:
        chain.append((AER, 2, {}))
    if "acs" in spec.capabilities:
        isolating = ACS_BITS if spec.kind in ("root_port", "downstream") else 0
        chain.append((ACS, 1, {"cap": isolating}))
    if spec.ari_next is not None:
        chain.append((ARI, 1, {"cap": spec.ari_next << 8}))
    elif "ari" in spec.capabilities:
        function = spec.address().devfn & 7
        chain.append((ARI, 1, {"cap": (function + 1) << 8 if function < 1 else 0}))
    if "dsn" in spec.capabilities:
        chain.append((DSN, 1, {"low": 0x00FF_FFFF, "high": 0x0200_0000}))
    if "dpc" in spec.capabilities:
        chain.append((DPC, 1, {"cap": spec.dpc}))
    if spec.virtual is not None:
        chain.append((SRIOV, 1, _virtual_values(spec.virtual)))
    at, before = CONFIG_BYTES, 0
    for structure, version, values in chain:
        if structure is SRIOV and spec.virtual is not None and spec.virtual.at >= at:
            if not before:  # the list begins at the first byte: with a capability that means nothing
                space.put(at, 4, NO_MEANING | 1 << 16)
                before = at
            at = spec.virtual.at & ~3
        if before:
            space.put(before + 2, 2, space.read(before + 2, 2) & 0xF | at << 4)
        space.put(at, 4, EXT_ID[structure.name] | version << 16)
        for name, value in values.items():
            space.set(structure, name, value, at)
        before, at = at, (at + structure.size + 7) & ~7


def _virtual_values(virtual: VirtualFunctions) -> dict[str, int]:
    values = {
        "initial_vfs": virtual.total,
        "total_vfs": virtual.total,
        "offset": 0x80,
        "stride": 2,
        "device": virtual.device,
        "page_sizes": 0x553,  # as devices have them: 4 KiB and further powers of two
        "page_size": 1,
    }
    for bar in virtual.bars:
        values[f"bar{bar.index}"] = bar.address & 0xFFFF_FFF0 | BAR_TYPE[bar.type] | (8 if bar.prefetch else 0)
        if bar.type == "mem64":
            values[f"bar{bar.index + 1}"] = bar.address >> 32
    return values


def _virtual_masks(space: ConfigSpace, virtual: VirtualFunctions) -> None:
    at = next((at for number, at in space.ext_capabilities() if number == EXT_ID[SRIOV.name]), None)
    if at is not None:
        for bar in virtual.bars:
            _bar_mask(space, at + SRIOV["bar0"].offset + 4 * bar.index, bar)


def install_masks(space: ConfigSpace, bars: list[BarSpec], rom_size: int) -> None:
    """Make the registers writable that software may write, following header type and capability lists."""
    header = _header(space)
    space.allow_structure(COMMON)
    space.allow_structure(header)
    if space.is_bridge:
        _bridge_window_masks(space)
    for bar in bars:
        _bar_mask(space, 0x10 + 4 * bar.index, bar)
    if rom_size and "rom" in header.registers:
        space.allow(header["rom"].offset, 4, ~(rom_size - 1) & ROM_ADDRESS | 1)
    for at in interrupt_routing(space):
        space.allow(at, 4, 0x8F8F_8F8F)
    for number, at in space.capabilities():
        if number in CAP_IDS and at + CAP_IDS[number].size <= CONFIG_BYTES:
            _allow_capability(space, number, at)
    for number, at in space.ext_capabilities():
        if number in EXT_IDS:
            space.allow_structure(EXT_IDS[number], at)
        if number == EXT_ID[ACS.name]:
            space.allow(at + acs_control(space), 2, space.get(ACS, "cap", at) & 0x7F)


def acs_control(space: ConfigSpace) -> int:
    """Where in the access control services the control register lies: after four bytes of capability in some PCHs.

    Source: Intel 100 Series Chipset Family PCH datasheet, volume 2, 12.1.46 and 12.1.47; specification updates of the
    200 series (erratum 22) and of the 7th and 8th generation's mobile PCHs (erratum 22)
    """
    vendor, device = space.get(COMMON, "vendor"), space.get(COMMON, "device")
    wide = vendor == INTEL and any(first <= device <= last for first, last in ACS_DOUBLE_WORDS)
    return ACS_DOUBLE_WORD_CONTROL if wide else ACS["control"].offset


def _bar_mask(space: ConfigSpace, register: int, bar: BarSpec) -> None:
    space.allow(register, 4, ~(bar.size - 1) & (0xFFFF_FFFC if bar.type == "io" else 0xFFFF_FFF0))
    if bar.type == "mem64":
        space.allow(register + 4, 4, ~(bar.size - 1) >> 32 & 0xFFFF_FFFF)


def interrupt_routing(space: ConfigSpace) -> list[int]:
    """Offsets of an Intel ISA bridge's PCI interrupt routing, four registers of a byte each; none on other functions.

    Bit 7 disables a link, bits 0-3 name its interrupt.
    Source: Intel ICH9 datasheet 13.1.14 (PIRQ[A-D]_ROUT 60h, PIRQ[E-H]_ROUT 68h), PIIX3 datasheet (60h)
    """
    if space.read(0, 2) != INTEL or space.read(0xA, 2) != CLASS_ISA_BRIDGE:
        return []
    return [0x60] if space.read(2, 2) in PIIX_IDS else [0x60, 0x68]


def _allow_capability(space: ConfigSpace, number: int, at: int) -> None:
    if number == CAP_ID[MSI.name] and not space.get(MSI, "control", at) & 0x80:
        space.allow(at + 2, 2, 0x0071)  # the 32-bit form: data follows the address at once
        space.allow(at + 4, 4, 0xFFFF_FFFC)
        space.allow(at + 8, 2, 0xFFFF)
    else:
        space.allow_structure(CAP_IDS[number], at)


def _bridge_window_masks(space: ConfigSpace) -> None:
    # A window that a bridge does not implement reads as zero in both registers and takes no writes.
    if not any(space.data[0x1C:0x1E]):
        space.allow(TYPE1["io_base"].offset, 2, 0)
    if not any(space.data[0x24:0x28]):
        space.allow(TYPE1["pref_base"].offset, 4, 0)
    if not space.data[0x1C] & DECODE_32_BIT_IO:
        space.allow(TYPE1["io_base_upper"].offset, 4, 0)
    if not space.data[0x24] & DECODE_64_BIT_MEMORY:
        space.allow(TYPE1["pref_base_upper"].offset, 8, 0)
