"""Secondary tables of a described server: processor power tables, address translation, node manager.

Processor performance and idle tables (OEM1, OEM4) are not loaded with the others: the firmware lists them in the root
table under names the kernel does not load by itself, and the processors' _OSC and _PDC methods load them when the
kernel says that it can use them. Intel server firmware works that way.
"""

from __future__ import annotations

from dataclasses import replace

from hw.acpi import aml
from hw.acpi.dsdt import Described, cpu_name
from hw.acpi.layout import sdt
from hw.acpi.standin import standin
from hw.errors import InputError

OEM_TABLES = (("OEM1", "CPU EIST"), ("OEM4", "CPU  CST"))
_P_STATES, _T_STATES = 24, 15
_UUID = bytes.fromhex("16a6774029be479ebdd870587139538a")  # processor _OSC, 4077A616-290C-47BE-9EBD-D87058713953


def build_ssdts(described: Described) -> list[bytes]:
    """The tables the kernel loads beside the DSDT; none for a small namespace."""
    if described.spec.aml != "server":
        return []
    if described.spec.oem_loads > len(OEM_TABLES):
        raise InputError(f"acpi.oem_loads is {described.spec.oem_loads}: expected at most {len(OEM_TABLES)}")
    return [
        _table(described, "SSDT", "CPU  TST", _per_cpu(described, _throttling())),
        _table(described, "SSDT", "SSDT  PM", _power_management(described)),
        _table(described, "SSDT", "ADDRXLAT", _address_translation(described)),
        _table(described, "SSDT", "SpsNm", _node_manager(described)),
        _table(described, "SSDT", "PCIHPX", _hot_plug(described)),
    ]


def build_oem_tables(described: Described) -> list[bytes]:
    """The tables that processor methods load at run time."""
    if described.spec.aml != "server":
        return []
    sizes = [*described.spec.oem_standin, *[0] * len(OEM_TABLES)]
    bodies = [
        _per_cpu(described, terms) + standin(sizes[number], 1 + number)
        for number, terms in enumerate((_performance(), _idle()))
    ]
    chosen = list(zip(OEM_TABLES, bodies, strict=True))[: described.spec.oem_loads]
    return [_table(described, signature, name, body) for (signature, name), body in chosen]


def _table(described: Described, signature: str, name: str, body: bytes) -> bytes:
    return sdt(signature, 2, body, replace(described.spec.ids(), oem_table_id=name))


def _per_cpu(described: Described, terms: bytes) -> bytes:
    return b"".join(aml.scope(f"\\_SB.{cpu_name(index)}", [terms]) for index in range(len(described.cpus)))


def _dword(value: int) -> bytes:
    # firmware writes fixed-width numbers here, so that it can patch them in place
    return b"\x0c" + value.to_bytes(4, "little")


def _register(bits: int, offset: int, access: int, address: int) -> bytes:
    return aml.resource_template(aml.fixed_hardware(bits, offset, access, address))


def _dependency(kind: int, count: int) -> bytes:
    """A _PSD or _TSD package: ``kind`` 0xFC software any, 0xFE hardware coordination."""
    return aml.package([aml.package([aml.integer(5), aml.ZERO, _dword(0), _dword(kind), _dword(count)])])


def _performance() -> bytes:
    states = [
        aml.package([_dword(3500 - 100 * index), _dword(270000 - 9000 * index), *[_dword(10)] * 2, *[ratio] * 2])
        for index, ratio in ((index, _dword((35 - index) << 8)) for index in range(_P_STATES))
    ]
    terms = [
        aml.name("_PCT", aml.package([_register(64, 0, 4, 0x199), _register(64, 0, 4, 0x198)])),
        aml.name("_PSS", aml.package(states)),
        aml.name("_PSD", _dependency(0xFE, 1)),
        aml.name("LPPC", aml.ZERO),
        aml.method("_PPC", 0, [aml.return_(aml.name_path("LPPC"))]),
    ]
    return b"".join(terms)


def _throttling() -> bytes:
    states = [
        aml.package([_dword(100 - 6 * index), _dword(1000 - 60 * index), _dword(0), _dword(index), _dword(0)])
        for index in range(_T_STATES)
    ]
    terms = [
        aml.name("_PTC", aml.package([_register(64, 0, 4, 0x19A), _register(64, 0, 4, 0x19A)])),
        aml.name("_TSS", aml.package(states)),
        aml.name("_TSD", _dependency(0xFC, 1)),
        aml.method("_TPC", 0, [aml.return_(aml.ZERO)]),
    ]
    return b"".join(terms)


def _idle() -> bytes:
    # (FFH address, ACPI state, worst latency in us, power in mW)
    states = ((0x00, 1, 2, 1000), (0x01, 1, 10, 900), (0x20, 2, 41, 350))
    listed = [
        aml.package([_register(1, 2, 3, hint), aml.integer(kind), _dword(latency), _dword(power)])
        for hint, kind, latency, power in states
    ]
    limits = [_register(8, shift, 4, 0x771) for shift in (0, 8, 16, 24)]
    controls = [_register(8, shift, 4, 0x774) for shift in (16, 0, 8, 24)]
    counters = [_register(64, 0, 4, address) for address in (0xE7, 0xE8, 0x64F, 0x770)]
    capabilities = [aml.integer(21), aml.integer(2), *limits, *controls, *counters, *[_register(0, 0, 0, 0)] * 7]
    terms = [
        aml.name("_CST", aml.package([aml.integer(len(states)), *listed])),
        aml.name("_CSD", aml.package([aml.package([aml.integer(6), *map(_dword, (0, 0, 0xFE, 1, 0))])])),
        aml.name("_CPC", aml.package(capabilities)),
    ]
    return b"".join(terms)


def _power_management(described: Described) -> bytes:
    """Capability methods of every processor, and the one behind them that loads the OEM tables once."""
    oem_id = described.spec.oem_id
    common = [aml.name("SDTL", aml.ZERO), aml.method("PDCL", 1, _load_terms(described.spec.oem_loads, oem_id), True)]
    return aml.scope("\\_SB", common) + _per_cpu(described, b"".join(_capability_methods()))


def _capability_methods() -> list[bytes]:
    first, second = aml.name_path("CAP0"), aml.name_path("CAP1")
    fields = [
        aml.create_dword_field(aml.arg(3), aml.ZERO, "CAP0"),
        aml.create_dword_field(aml.arg(3), aml.integer(4), "CAP1"),
    ]
    accepted = [*fields, aml.call("\\_SB.PDCL", second)]
    refused = [fields[0], aml.or_(first, aml.integer(4), first)]
    return [
        aml.method(
            "_OSC",
            4,
            [
                aml.if_(aml.equal(aml.arg(0), aml.buffer(_UUID)), accepted),
                aml.else_(refused),
                aml.return_(aml.arg(3)),
            ],
        ),
        aml.method(
            "_PDC",
            1,
            [aml.create_dword_field(aml.arg(0), aml.integer(8), "CAP2"), aml.call("\\_SB.PDCL", aml.name_path("CAP2"))],
        ),
    ]


def _load_terms(count: int, oem_id: str) -> list[bytes]:
    """Load table ``n`` when its bit in SDTL is clear and the kernel can use it."""
    loaded = aml.name_path("SDTL")
    out = []
    for number, (signature, name) in enumerate(OEM_TABLES[:count]):
        bit = aml.integer(1 << number)
        operands = [aml.string(signature), aml.string(oem_id.ljust(6)), aml.string(name)]
        load = b"\x5b\x1f" + b"".join(operands) + aml.string("") * 2 + aml.ZERO
        wanted = aml.equal(aml.and_(loaded, bit), aml.ZERO)
        out.append(aml.if_(wanted, [aml.or_(loaded, bit, loaded), aml.store(load, aml.local(0))]))
    return out or [aml.return_(aml.ZERO)]


def _address_translation(described: Described) -> bytes:
    """A device that turns system addresses into DIMM addresses through a mailbox in memory."""
    units = [("CMND", 8), ("STTS", 8), ("", 16), ("SADR", 64), ("SKID", 8), ("MCID", 8), ("CHID", 8), ("DMID", 8)]
    translate = [
        aml.store(aml.arg(0), aml.name_path("SADR")),
        aml.store(aml.ONE, aml.name_path("CMND")),
        aml.store(aml.ZERO, aml.local(0)),
        aml.while_(
            aml.less(aml.local(0), aml.integer(100)),
            [aml.if_(aml.equal(aml.name_path("CMND"), aml.ZERO), [b"\xa5"]), aml.increment(aml.local(0))],
        ),
        aml.return_(aml.name_path("STTS")),
    ]
    terms = [
        aml.name("_HID", aml.string("ACPI000C")),
        aml.operation_region("XLAT", 0, aml.integer(0x9F000), aml.integer(0x20)),
        aml.field("XLAT", 1, units),
        aml.mutex("XMTX"),
        aml.method("ADRX", 1, translate, serialized=True),
        aml.method("_STA", 0, [aml.return_(aml.ZERO)]),
    ]
    return aml.scope("\\_SB", [aml.device("XLT0", terms)])


def _node_manager(described: Described) -> bytes:
    """The power meter of the board controller: limits per socket and a sleep-state notification."""
    sockets = sorted({place.package for place in described.cpus})
    limits = [aml.package([aml.integer(socket), _dword(350000), _dword(95000)]) for socket in sockets]
    terms = [
        aml.name("_HID", aml.string("ACPI000D")),
        aml.name("_UID", aml.ZERO),
        aml.name("PLIM", aml.package(limits)),
        aml.name("_PMC", aml.package([_dword(0), _dword(0), _dword(1000), _dword(100), *[_dword(0)] * 7])),
        aml.method("_STA", 0, [aml.return_(aml.integer(0x0B))]),
        aml.method("GLIM", 1, [aml.return_(aml.deref_of(aml.index(aml.name_path("PLIM"), aml.arg(0))))]),
    ]
    return aml.scope("\\_SB", [aml.device("PMI0", terms)])


def _hot_plug(described: Described) -> bytes:
    """Hot-plug parameters (_HPP) of every PCI root."""
    parameters = aml.name("_HPP", aml.package([_dword(8), _dword(0x40), _dword(1), _dword(0)]))
    return b"".join(aml.scope(f"\\_SB.{root.name}", [parameters]) for root in described.roots)
