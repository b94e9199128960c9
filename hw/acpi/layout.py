"""ACPI structure layouts: one declaration gives the dtype, the size check and the printed table.

Offsets are those of the ACPI specification (6.5) and, for DMAR, of the VT-d specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hw.acpi.checksum import fix_checksum

Field = tuple[int, str]


@dataclass(frozen=True)
class Layout:
    """A packed little-endian structure: ``fields`` maps a name to (offset, numpy type).

    Raises ValueError at declaration when a field leaves the structure or overlaps the one before it.
    """

    name: str
    size: int
    fields: dict[str, Field]
    source: str

    def __post_init__(self) -> None:
        end = 0
        for field, (offset, kind) in sorted(self.fields.items(), key=lambda item: item[1][0]):
            if offset < end or offset + np.dtype(kind).itemsize > self.size:
                raise ValueError(f"{self.name}.{field}: offset {offset:#x} expected in [{end:#x}, {self.size:#x})")
            end = offset + np.dtype(kind).itemsize
        if self.dtype.itemsize != self.size:
            raise ValueError(f"{self.name}: dtype has {self.dtype.itemsize} bytes, expected {self.size}")

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """numpy structured type with exactly these offsets; bytes between fields are padding."""
        return np.dtype(
            {
                "names": list(self.fields),
                "formats": [kind for _, kind in self.fields.values()],
                "offsets": [offset for offset, _ in self.fields.values()],
                "itemsize": self.size,
            }
        )

    def offset(self, field: str) -> int:
        """Byte offset of ``field``."""
        return self.fields[field][0]

    def pack(self, **values: int | bytes) -> bytes:
        """Bytes of one structure; fields not named are zero."""
        record = np.zeros(1, dtype=self.dtype)
        for field, value in values.items():
            record[field] = value
        return record.tobytes()

    def get(self, data: bytes, field: str, base: int = 0) -> int:
        """Integer ``field`` of the structure at ``base`` in ``data``; bytes past the end of ``data`` read as zero."""
        offset, kind = self.fields[field]
        start = base + offset
        return int.from_bytes(data[start : start + np.dtype(kind).itemsize], "little")

    def raw(self, data: bytes, field: str, base: int = 0) -> bytes:
        """Bytes of ``field`` of the structure at ``base``."""
        offset, kind = self.fields[field]
        return data[base + offset : base + offset + np.dtype(kind).itemsize]

    def table(self) -> str:
        """The layout as the manual prints it: offset, bytes, name."""
        rows = [f"{self.name} ({self.size} bytes; {self.source})"]
        for field, (offset, kind) in self.fields.items():
            rows.append(f"  {offset:#06x} {np.dtype(kind).itemsize:3d}  {field}")
        return "\n".join(rows)


_HEADER: dict[str, Field] = {
    "signature": (0, "S4"),
    "length": (4, "<u4"),
    "revision": (8, "u1"),
    "checksum": (9, "u1"),
    "oem_id": (10, "S6"),
    "oem_table_id": (16, "S8"),
    "oem_revision": (24, "<u4"),
    "creator_id": (28, "S4"),
    "creator_revision": (32, "<u4"),
}

HEADER = Layout("acpi_table_header", 36, _HEADER, "ACPI 6.5 table 5.4")
RSDP = Layout(
    "acpi_table_rsdp",
    36,
    {
        "signature": (0, "S8"),
        "checksum": (8, "u1"),
        "oem_id": (9, "S6"),
        "revision": (15, "u1"),
        "rsdt": (16, "<u4"),
        "length": (20, "<u4"),
        "xsdt": (24, "<u8"),
        "extended_checksum": (32, "u1"),
    },
    "ACPI 6.5 table 5.3",
)
RSDP_V0_SIZE = 20  # Source: ACPI 1.0 clause 5.2.4

GAS = Layout(
    "acpi_generic_address",
    12,
    {"space": (0, "u1"), "bit_width": (1, "u1"), "bit_offset": (2, "u1"), "access": (3, "u1"), "address": (4, "<u8")},
    "ACPI 6.5 table 5.1",
)


def _fadt_fields() -> dict[str, Field]:
    fields = dict(_HEADER)
    fields |= {"facs": (0x24, "<u4"), "dsdt": (0x28, "<u4"), "model": (0x2C, "u1"), "profile": (0x2D, "u1")}
    fields |= {"sci": (0x2E, "<u2"), "smi_cmd": (0x30, "<u4"), "acpi_enable": (0x34, "u1")}
    fields |= {"acpi_disable": (0x35, "u1"), "s4bios": (0x36, "u1"), "pstate": (0x37, "u1")}
    blocks = ("pm1a_evt", "pm1b_evt", "pm1a_cnt", "pm1b_cnt", "pm2_cnt", "pm_tmr", "gpe0", "gpe1")
    fields |= {name: (0x38 + 4 * index, "<u4") for index, name in enumerate(blocks)}
    lengths = ("pm1_evt_len", "pm1_cnt_len", "pm2_cnt_len", "pm_tmr_len", "gpe0_len", "gpe1_len", "gpe1_base", "cst")
    fields |= {name: (0x58 + index, "u1") for index, name in enumerate(lengths)}
    fields |= {"c2_latency": (0x60, "<u2"), "c3_latency": (0x62, "<u2"), "flush_size": (0x64, "<u2")}
    fields |= {"flush_stride": (0x66, "<u2"), "duty_offset": (0x68, "u1"), "duty_width": (0x69, "u1")}
    fields |= {"day_alarm": (0x6A, "u1"), "month_alarm": (0x6B, "u1"), "century": (0x6C, "u1")}
    fields |= {"boot_arch": (0x6D, "<u2"), "flags": (0x70, "<u4")}
    return fields


FADT_V1 = Layout("acpi_table_fadt_v1", 0x74, _fadt_fields(), "ACPI 1.0 clause 5.2.5")
_V3 = _fadt_fields() | {
    "reset_register": (0x74, "V12"),
    "reset_value": (0x80, "u1"),
    "arm_flags": (0x81, "<u2"),
    "minor_revision": (0x83, "u1"),
    "x_facs": (0x84, "<u8"),
    "x_dsdt": (0x8C, "<u8"),
}
_V3 |= {
    name: (0x94 + 12 * index, "V12")
    for index, name in enumerate(
        ("x_pm1a_evt", "x_pm1b_evt", "x_pm1a_cnt", "x_pm1b_cnt", "x_pm2_cnt", "x_pm_tmr", "x_gpe0", "x_gpe1")
    )
}
FADT_V3 = Layout("acpi_table_fadt_v3", 0xF4, _V3, "ACPI 3.0 clause 5.2.9")
FADT_V6 = Layout(
    "acpi_table_fadt",
    0x114,
    _V3 | {"sleep_control": (0xF4, "V12"), "sleep_status": (0x100, "V12"), "hypervisor_id": (0x10C, "<u8")},
    "ACPI 6.5 table 5.9",
)
FACS = Layout(
    "acpi_table_facs",
    64,
    {
        "signature": (0, "S4"),
        "length": (4, "<u4"),
        "hardware_signature": (8, "<u4"),
        "waking_vector": (12, "<u4"),
        "global_lock": (16, "<u4"),
        "flags": (20, "<u4"),
        "x_waking_vector": (24, "<u8"),
        "version": (32, "u1"),
    },
    "ACPI 6.5 table 5.13",
)

MADT = Layout("acpi_table_madt", 44, _HEADER | {"lapic_address": (36, "<u4"), "flags": (40, "<u4")}, "ACPI 6.5 5.19")
_SUB: dict[str, Field] = {"type": (0, "u1"), "length": (1, "u1")}
MADT_LAPIC = Layout(
    "madt_local_apic",
    8,
    _SUB | {"uid": (2, "u1"), "apic_id": (3, "u1"), "flags": (4, "<u4")},
    "ACPI 6.5 table 5.21",
)
MADT_IOAPIC = Layout(
    "madt_io_apic",
    12,
    _SUB | {"id": (2, "u1"), "address": (4, "<u4"), "gsi_base": (8, "<u4")},
    "ACPI 6.5 table 5.23",
)
MADT_OVERRIDE = Layout(
    "madt_interrupt_override",
    10,
    _SUB | {"bus": (2, "u1"), "irq": (3, "u1"), "gsi": (4, "<u4"), "flags": (8, "<u2")},
    "ACPI 6.5 table 5.25",
)
MADT_NMI_SOURCE = Layout(
    "madt_nmi_source", 8, _SUB | {"flags": (2, "<u2"), "gsi": (4, "<u4")}, "ACPI 6.5 table 5.27"
)
MADT_LAPIC_NMI = Layout(
    "madt_local_apic_nmi", 6, _SUB | {"uid": (2, "u1"), "flags": (3, "<u2"), "lint": (5, "u1")}, "ACPI 6.5 table 5.28"
)
MADT_LAPIC_ADDRESS = Layout(
    "madt_local_apic_override", 12, _SUB | {"address": (4, "<u8")}, "ACPI 6.5 table 5.29"
)
MADT_X2APIC = Layout(
    "madt_local_x2apic",
    16,
    _SUB | {"apic_id": (4, "<u4"), "flags": (8, "<u4"), "uid": (12, "<u4")},
    "ACPI 6.5 table 5.34",
)
MADT_X2APIC_NMI = Layout(
    "madt_local_x2apic_nmi", 12, _SUB | {"flags": (2, "<u2"), "uid": (4, "<u4"), "lint": (8, "u1")}, "ACPI 6.5 5.36"
)
MADT_WAKEUP = Layout(
    "madt_multiproc_wakeup", 16, _SUB | {"version": (2, "<u2"), "mailbox": (8, "<u8")}, "ACPI 6.5 table 5.43"
)
MADT_SUBTABLES: dict[int, Layout] = {
    0: MADT_LAPIC,
    1: MADT_IOAPIC,
    2: MADT_OVERRIDE,
    3: MADT_NMI_SOURCE,
    4: MADT_LAPIC_NMI,
    5: MADT_LAPIC_ADDRESS,
    9: MADT_X2APIC,
    10: MADT_X2APIC_NMI,
    16: MADT_WAKEUP,
}

SRAT = Layout("acpi_table_srat", 48, _HEADER | {"table_revision": (36, "<u4")}, "ACPI 6.5 table 5.58")
SRAT_CPU = Layout(
    "srat_cpu_affinity",
    16,
    _SUB
    | {
        "pxm_lo": (2, "u1"),
        "apic_id": (3, "u1"),
        "flags": (4, "<u4"),
        "sapic_eid": (8, "u1"),
        "pxm_hi": (9, "V3"),
        "clock_domain": (12, "<u4"),
    },
    "ACPI 6.5 table 5.59",
)
SRAT_MEMORY = Layout(
    "srat_mem_affinity",
    40,
    _SUB | {"pxm": (2, "<u4"), "base": (8, "<u8"), "bytes": (16, "<u8"), "flags": (28, "<u4")},
    "ACPI 6.5 table 5.61",
)
SRAT_X2APIC = Layout(
    "srat_x2apic_affinity",
    24,
    _SUB | {"pxm": (4, "<u4"), "apic_id": (8, "<u4"), "flags": (12, "<u4"), "clock_domain": (16, "<u4")},
    "ACPI 6.5 table 5.63",
)
SLIT = Layout("acpi_table_slit", 44, _HEADER | {"localities": (36, "<u8")}, "ACPI 6.5 table 5.69")
MCFG = Layout("acpi_table_mcfg", 44, _HEADER, "PCI Firmware 3.3 table 4-2")
MCFG_ENTRY = Layout(
    "mcfg_allocation",
    16,
    {"base": (0, "<u8"), "segment": (8, "<u2"), "start_bus": (10, "u1"), "end_bus": (11, "u1")},
    "PCI Firmware 3.3 table 4-3",
)
HPET = Layout(
    "acpi_table_hpet",
    56,
    _HEADER
    | {
        "id": (36, "<u4"),
        "address": (40, "V12"),
        "sequence": (52, "u1"),
        "min_tick": (53, "<u2"),
        "flags": (55, "u1"),
    },
    "IA-PC HPET 1.0a clause 3.2.4",
)
DMAR = Layout("acpi_table_dmar", 48, _HEADER | {"width": (36, "u1"), "flags": (37, "u1")}, "VT-d 4.1 clause 8.1")
_REMAP: dict[str, Field] = {"type": (0, "<u2"), "length": (2, "<u2")}
DMAR_DRHD = Layout(
    "dmar_hardware_unit",
    16,
    _REMAP | {"flags": (4, "u1"), "size": (5, "u1"), "segment": (6, "<u2"), "base": (8, "<u8")},
    "VT-d 4.1 clause 8.3",
)
DMAR_RMRR = Layout(
    "dmar_reserved_memory",
    24,
    _REMAP | {"segment": (6, "<u2"), "base": (8, "<u8"), "limit": (16, "<u8")},
    "VT-d 4.1 clause 8.4",
)
DMAR_ATSR = Layout("dmar_atsr", 8, _REMAP | {"flags": (4, "u1"), "segment": (6, "<u2")}, "VT-d 4.1 clause 8.5")
DMAR_RHSA = Layout("dmar_rhsa", 20, _REMAP | {"base": (8, "<u8"), "pxm": (16, "<u4")}, "VT-d 4.1 clause 8.6")
DMAR_SCOPE = Layout(
    "dmar_device_scope",
    6,
    {"type": (0, "u1"), "length": (1, "u1"), "flags": (2, "<u2"), "id": (4, "u1"), "bus": (5, "u1")},
    "VT-d 4.1 clause 8.3.1",
)


@dataclass(frozen=True)
class TableIds:
    """The identification fields of a table header; text shorter than its field is padded with spaces."""

    oem_id: str = "MINIKN"
    oem_table_id: str = "MINIKERN"
    oem_revision: int = 1
    creator_id: str = "MKRN"
    creator_revision: int = 1


def sdt(signature: str, revision: int, body: bytes, ids: TableIds) -> bytes:
    """A whole table: common header with the right length and checksum, then ``body``."""
    header = HEADER.pack(
        signature=signature.encode("ascii"),
        length=HEADER.size + len(body),
        revision=revision,
        oem_id=ids.oem_id.encode("ascii").ljust(6)[:6],
        oem_table_id=ids.oem_table_id.encode("ascii").ljust(8)[:8],
        oem_revision=ids.oem_revision,
        creator_id=ids.creator_id.encode("ascii").ljust(4)[:4],
        creator_revision=ids.creator_revision,
    )
    return fix_checksum(header + body)
