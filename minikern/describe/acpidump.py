"""acpidump text and folders of ``.dat`` files, in and out; a captured machine's tables as an AcpiSpec."""

from __future__ import annotations

import lzma
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hw.acpi.checksum import fix_checksum
from hw.acpi.layout import FADT_V3, HEADER, RSDP, RSDP_V0_SIZE, TableIds, sdt
from hw.acpi.spec import AcpiSpec, IoApicSpec, RawTable
from hw.errors import InputError
from hw.files import open_input, read_input
from minikern.host.output import Folder

MAX_DUMP_BYTES = 64 << 20
HPET_IDLE_TICKS = 1_911_260_446.7  # what a 32-bit clock source may sleep. Source: kernel/time/clocksource.c @ v6.12
HPET_PERIODS_FS = (10_000_000, 41_666_667, 69_841_279)  # 100, 24 and 14.318 MHz
HPET_MAX_PERIOD_FS = 100_000_000  # Source: IA-PC HPET Specification 1.0a, COUNTER_CLK_PERIOD
_NUMBER = re.compile(r"[0-9]{1,4}")
_TITLE = re.compile(r"^(\S{1,4})\s+@\s+0x([0-9A-Fa-f]{1,16})\s*$")
_HEX = re.compile(r"^\s+([0-9A-Fa-f]{4,8}):((?: [0-9A-Fa-f]{2}){1,16})(?:\s|$)")


class DumpedTable(NamedTuple):
    """One table of a dump; ``address`` is 0 where the tool did not know it."""

    signature: str
    address: int
    data: bytes


def read_acpidump(text: str, where: str = "acpidump") -> list[DumpedTable]:
    """Tables of an acpidump text in order; unindented lines that are no title are the tool's own messages.

    InputError names an indented line that is no hex row, or one at the wrong offset.
    """
    tables: list[DumpedTable] = []
    title: tuple[str, int] | None = None
    data = bytearray()
    for number, line in enumerate(text.splitlines(), 1):
        match = _TITLE.match(line)
        row = None if match else _HEX.match(line)
        if match:
            if title is not None:
                tables.append(DumpedTable(*title, bytes(data)))
            title, data = (match[1], int(match[2], 16)), bytearray()
        elif row and title is not None:
            if int(row[1], 16) != len(data):
                raise InputError(f"{where}:{number}: offset {row[1]} of table {title[0]}, expected {len(data):04X}")
            data += bytes.fromhex(row[2].replace(" ", ""))
        elif line[:1].isspace() and line.strip():
            raise InputError(f"{where}:{number}: expected 'SIGN @ 0xADDRESS' or a hex row, came {line[:40]!r}")
    if title is not None:
        tables.append(DumpedTable(*title, bytes(data)))
    return tables


def write_acpidump(tables: Iterable[DumpedTable]) -> str:
    """The acpidump text of ``tables``; :func:`read_acpidump` gives them back."""
    out = []
    for table in tables:
        out.append(f"{table.signature} @ 0x{table.address:016X}")
        for start in range(0, len(table.data), 16):
            row = table.data[start : start + 16]
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
            out.append(f"    {start:04X}: {' '.join(f'{byte:02X}' for byte in row):<47s}  {text}")
        out.append("")
    return "\n".join(out) + "\n" if out else ""


def read_dat_folder(folder: Path) -> dict[str, list[bytes]]:
    """Tables of a folder of ``.dat`` files by signature; instances (``SSDT1.dat``, ``SSDT10.dat``) in number order."""
    found: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for path in folder.glob("*.dat"):
        number = int(path.stem[4:]) if _NUMBER.fullmatch(path.stem[4:]) else 0
        found[path.stem[:4].upper()].append((number, read_input(path, MAX_DUMP_BYTES)))
    return {name: [data for _, data in sorted(items)] for name, items in found.items()}


def write_dat_folder(folder: Path, tables: Iterable[tuple[str, bytes]]) -> None:
    """Write tables as ``SIGN.dat``; further ones of the same signature as ``SIGN2.dat`` and so on."""
    into = Folder(folder)
    into.make("")
    seen: dict[str, int] = defaultdict(int)
    for signature, data in tables:
        seen[signature] += 1
        suffix = str(seen[signature]) if seen[signature] > 1 else ""
        into.write(f"{signature}{suffix}.dat", data)


class LoggedTable(NamedTuple):
    """A table as the boot log names it; ``ids`` is None for RSDP and FACS."""

    signature: str
    address: int
    length: int
    revision: int
    ids: TableIds | None


_STAMP = re.compile(r"^(?:<\d+>)?(?:\[ *\d+\.\d+\](?:\[[^\]]*\])? ?)?")
_LOG = re.compile(
    r"^ACPI: ([!-~]{4}) 0x([0-9A-F]{16}) ([0-9A-F]{6,8})"
    r"(?: \(v([01]?[0-9]{1,2}|2[0-4][0-9]|25[0-5]) (.{6})(?: (.{8}) ([0-9A-F]{8}) (.{4}) ([0-9A-F]{8}))?\))?$"
)
_IOAPIC = re.compile(r"^IOAPIC\[\d+\]: apic_id (\d+), version (\d+), address 0x([0-9a-f]+), GSI (\d+)-(\d+)$")
_MP_TABLE = re.compile(r"found SMP MP-table at \[mem 0x([0-9a-f]{8})-0x[0-9a-f]{8}\]")


def logged_tables(dmesg: str) -> list[LoggedTable]:
    """The tables a boot log names before the interpreter starts, in its order (RSDP and root table first)."""
    out = []
    for raw in dmesg.splitlines():
        line = _STAMP.sub("", raw).rstrip("\r\n")
        if line.startswith("ACPI: Added _OSI("):
            break
        match = _LOG.match(line)
        if match is None:
            continue
        ids = None
        if match[6] is not None:
            ids = TableIds(match[5], match[6], int(match[7], 16), match[8], int(match[9], 16))
        out.append(LoggedTable(match[1], int(match[2], 16), int(match[3], 16), int(match[4] or 0), ids))
        if match[1] == "RSDP" and match[5]:
            out[-1] = out[-1]._replace(ids=TableIds(oem_id=match[5]))
    return out


def dat_tables(folder: Path) -> list[tuple[str, bytes]]:
    """The tables of ``acpi/`` with their signatures, the FADT first; empty without that folder."""
    found = read_dat_folder(folder / "acpi") if (folder / "acpi").is_dir() else {}
    names = sorted(found, key=lambda name: (name != "FACP", name))
    return [(name, data) for name in names for data in found[name]]


def acpi_from_capture(folder: Path, dmesg_text: str) -> AcpiSpec:
    """The ACPI side of a captured machine: table bytes from ``folder``, their places from its boot log.

    RSDP and root table are rebuilt from the log line when the folder does not hold them. InputError names a table the
    log has and the folder has not. A log without ACPI lines gives a machine without ACPI.
    """
    logged = logged_tables(dmesg_text)
    mp_table = logged_mp_table(dmesg_text)
    if not logged:
        ioapics = logged_ioapics(dmesg_text) or AcpiSpec().ioapics
        return AcpiSpec(enabled=False, rsdp_address=None, mp_table=mp_table, ioapics=ioapics)
    store = _Store(folder)
    tables = [entry for entry in logged if entry.signature not in ("RSDP", "RSDT", "XSDT")]
    raw = [RawTable(entry.signature, entry.address, store.take(entry)) for entry in tables]
    rsdp = next((entry for entry in logged if entry.signature == "RSDP"), None)
    root = next((entry for entry in logged if entry.signature in ("RSDT", "XSDT")), None)
    if rsdp is None or root is None:
        raise InputError(f"{folder}: the boot log lists ACPI tables but no RSDP and root table")
    raw.append(RawTable(root.signature, root.address, _root_table(store, root, raw)))
    spec = AcpiSpec(
        rsdp_address=rsdp.address,
        rsdp_revision=rsdp.revision,
        rsdp=rsdp_for(rsdp.revision, rsdp.ids or TableIds(), root.address, root.signature == "XSDT"),
        root_kind="xsdt" if root.signature == "XSDT" else "rsdt",
        raw=raw,
        mp_table=mp_table,
    )
    spec.ioapics = logged_ioapics(dmesg_text) or spec.ioapics
    spec.hpet_period_fs = logged_hpet_period(dmesg_text)
    hpet_facts(spec, raw)
    fadt_facts(spec, raw)
    return spec


def logged_ioapics(dmesg: str) -> list[IoApicSpec]:
    """The I/O APICs a boot log names."""
    found = []
    for raw in dmesg.splitlines():
        match = _IOAPIC.match(_STAMP.sub("", raw))
        if match:
            base, end = int(match[4]), int(match[5])
            found.append(IoApicSpec(int(match[1]), int(match[3], 16), base, int(match[2]) & 0xFF, end - base + 1))
    return found


def logged_hpet_period(dmesg: str) -> int:
    """One tick of the HPET, fs, from the line of its clock source; the usual rate's if there is none.

    The longest idle time of a 32-bit counter is so many ticks, rounded by a few parts in 10**8.
    """
    match = re.search(r"clocksource: hpet: mask: 0xffffffff max_cycles: 0xffffffff, max_idle_ns: (\d{1,15}) ns", dmesg)
    if match is None:
        return AcpiSpec().hpet_period_fs
    period = round(int(match[1]) * 1_000_000 / HPET_IDLE_TICKS)
    known = min(HPET_PERIODS_FS, key=lambda usual: abs(usual - period))
    return known if abs(known - period) <= known >> 22 else max(1, min(period, HPET_MAX_PERIOD_FS))


def logged_mp_table(dmesg: str) -> int:
    """Where a boot log has the MultiProcessor table's floating pointer, 0 if it found none."""
    match = _MP_TABLE.search(dmesg)
    return int(match[1], 16) if match else 0


class _Store:
    """Table bytes of a captured folder; each instance of a signature is handed out once, by matching the log line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._left = read_dat_folder(folder / "acpi") if (folder / "acpi").is_dir() else {}
        self._dump: dict[str, list[bytes]] | None = None

    def find(self, entry: LoggedTable) -> bytes | None:
        """Bytes of ``entry``: the .dat file whose length (and identification) fits, else the dump's, else None."""
        return self._pick(self._left, entry) or self._pick(self._from_dump(), entry)

    def take(self, entry: LoggedTable) -> bytes:
        data = self.find(entry)
        if data is None:
            raise InputError(
                f"{self.folder}: the boot log has table {entry.signature} at {entry.address:#x} of {entry.length:#x}"
                f" bytes: expected it in acpi/{entry.signature}.dat or acpidump.txt.xz"
            )
        return data

    @staticmethod
    def _pick(left: dict[str, list[bytes]], entry: LoggedTable) -> bytes | None:
        candidates = left.get(entry.signature, [])
        fits = [data for data in candidates if len(data) == entry.length]
        exact = [data for data in fits if _same_ids(data, entry)]
        chosen = next(iter(exact or fits), None)
        if chosen is not None:
            candidates.remove(chosen)
        return chosen

    def _from_dump(self) -> dict[str, list[bytes]]:
        if self._dump is None:
            self._dump = defaultdict(list)
            path = self.folder / "acpidump.txt.xz"
            if path.exists():
                for table in read_acpidump(_unpack(path), str(path)):
                    self._dump[table.signature].append(table.data)
        return self._dump


def _unpack(path: Path) -> str:
    try:
        with open_input(path, MAX_DUMP_BYTES) as packed, lzma.open(packed) as stream:
            return stream.read(MAX_DUMP_BYTES * 5).decode("ascii", "replace")
    except (lzma.LZMAError, EOFError) as problem:
        raise InputError(f"{path}: not a sound xz file: {problem}") from None


def _same_ids(data: bytes, entry: LoggedTable) -> bool:
    if entry.ids is None:
        return True
    name = HEADER.raw(data, "oem_table_id").split(b"\0")[0].decode("latin-1").ljust(8)
    return name == entry.ids.oem_table_id


def _root_table(store: _Store, root: LoggedTable, raw: list[RawTable]) -> bytes:
    kept = store.find(root)
    if kept is not None:
        return kept
    # DSDT and FACS hang on the FADT; every other table has an entry in the root table, in the order of the log.
    width = 8 if root.signature == "XSDT" else 4
    entries = [table.address for table in raw if table.signature not in ("DSDT", "FACS")]
    body = b"".join(address.to_bytes(width, "little") for address in entries)
    body = body.ljust(root.length - HEADER.size, b"\0")[: max(0, root.length - HEADER.size)]
    return sdt(root.signature, root.revision, body, root.ids or TableIds())


def rsdp_for(revision: int, ids: TableIds, root: int, xsdt: bool) -> bytes:
    """A root pointer of ``revision`` to the table at ``root``."""
    data = RSDP.pack(
        signature=b"RSD PTR ",
        oem_id=ids.oem_id.ljust(6)[:6].encode("latin-1"),
        revision=revision,
        rsdt=0 if xsdt else root,
        length=RSDP.size if revision >= 2 else 0,
        xsdt=root if xsdt else 0,
    )
    data = fix_checksum(data, RSDP.offset("checksum"), RSDP_V0_SIZE)
    if revision < 2:
        return data[:RSDP_V0_SIZE]
    return fix_checksum(data, RSDP.offset("extended_checksum"), RSDP.size)


def hpet_facts(spec: AcpiSpec, raw: list[RawTable]) -> None:
    """What the HPET table says of the timer; without one there is none."""
    data = next((table.data for table in raw if table.signature == "HPET"), None)
    if data is None or len(data) < 56:
        spec.hpet_address = 0
        return
    spec.hpet_id = int.from_bytes(data[36:40], "little")
    spec.hpet_address = int.from_bytes(data[44:48], "little")


def fadt_facts(spec: AcpiSpec, raw: list[RawTable]) -> None:
    """Interrupt, ports and boot flags of the FADT."""
    data = next((table.data for table in raw if table.signature == "FACP"), None)
    if data is None:
        return
    spec.sci_irq = FADT_V3.get(data, "sci") & 0xFF
    spec.pm_base = FADT_V3.get(data, "pm1a_evt") & 0xFFFF
    spec.pm_timer_port = FADT_V3.get(data, "pm_tmr") & 0xFFFF
    spec.gpe0_address = FADT_V3.get(data, "gpe0") & 0xFFFF
    spec.gpe0_length = FADT_V3.get(data, "gpe0_len")
    spec.boot_arch = FADT_V3.get(data, "boot_arch")
