"""Boot logs as people keep them, lines lost and changed, in the forms of a dozen programs; whole captured folders."""

from __future__ import annotations

import base64
import bz2
import gzip
import html
import json
import lzma
import quopri
import re
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

import zstandard

from tests.fuzz.mutations import (
    CAPTURES,
    NUMBER,
    WORDS,
    damaged,
    edge_number,
    edited,
    one_in,
    other_number,
    overwritten,
    text_of,
)

BEGINNING = 60  # lines of a short log that are kept: version, command line, memory map
PIECE = 30
STAMP = re.compile(r"^\[ *(\d+)\.(\d+)\] ")

Lines = Sequence[str]


@cache
def logs() -> tuple[tuple[str, ...], ...]:
    """The captured ones."""
    paths = sorted(CAPTURES.glob("*/dmesg.txt"))
    return tuple(tuple(path.read_text("utf-8", "replace").splitlines()) for path in paths)


@cache
def _kinds() -> tuple[tuple[int, ...], ...]:
    """Of each log the first line of every kind: those that differ in numbers only are of one."""
    found = []
    for lines in logs():
        first: dict[str, int] = {}
        for at, line in enumerate(lines):
            first.setdefault(NUMBER.sub("#", line), at)
        found.append(tuple(first.values()))
    return tuple(found)


def boot_log(chance: Random) -> bytes:
    """A real log with lines lost, doubled, swapped or cut, and numbers that no machine has in lines of all kinds."""
    which = chance.randrange(len(logs()))
    lines = list(logs()[which])
    for _ in range(chance.randint(0, 3)):
        at = chance.choice(_kinds()[which])
        lines[at] = other_number(chance, lines[at])
    return text_of(edited(chance, lines, 4))


def short_log(chance: Random) -> list[str]:
    """The beginning of a real log and a few pieces of what follows, edited."""
    whole = chance.choice(logs())
    starts = sorted(chance.sample(range(BEGINNING, len(whole), PIECE), 3))
    lines = [*whole[:BEGINNING], *(line for start in starts for line in whole[start : start + PIECE])]
    return edited(chance, lines, 6)


def kept_log(chance: Random) -> bytes:
    """A short log in the form in which some program keeps it, at times packed, at times damaged afterwards."""
    lines = short_log(chance)
    form = chance.choice(FORMS)
    data = form(lines)
    if one_in(chance, 4):
        data += chance.choice(FORMS)(short_log(chance))
    if one_in(chance, 4):
        data = chance.choice(PACKERS)(data)
    return damaged(chance, data, 3) if one_in(chance, 3) else data


def _stamped(lines: Lines) -> list[tuple[int, str]]:
    """(microseconds, text) of every line."""
    found = []
    for line in lines:
        match = STAMP.match(line)
        us = int((match[1] + match[2])[:15]) if match else 0
        found.append((us, line[match.end() :] if match else line))
    return found


def _each(form: Callable[[int, str], str]) -> Callable[[Lines], bytes]:
    return lambda lines: text_of([form(us, text) for us, text in _stamped(lines)])


def _json_lines(lines: Lines) -> bytes:
    rows = [{"MESSAGE": text, "_TRANSPORT": "kernel", "_SOURCE_MONOTONIC_TIMESTAMP": str(us)}
            for us, text in _stamped(lines)]  # fmt: skip
    return text_of([json.dumps(row) for row in rows])


def _json_whole(lines: Lines) -> bytes:
    rows = [{"pri": 6, "time": us / 1e6, "msg": text} for us, text in _stamped(lines)]
    return json.dumps({"dmesg": rows}).encode()


def _export(lines: Lines) -> bytes:
    return text_of([f"_TRANSPORT=kernel\n_SOURCE_MONOTONIC_TIMESTAMP={us}\nMESSAGE={text}\n"
                    for us, text in _stamped(lines)])  # fmt: skip


def _steps(lines: Lines) -> bytes:
    before, found = 0, []
    for us, text in _stamped(lines):
        found.append(f"[  +{max(0, us - before) / 1e6:.6f}] {text}")
        before = us
    return text_of(found)


FORMS: tuple[Callable[[Lines], bytes], ...] = (
    text_of,
    _each(lambda us, text: text),
    _each(lambda us, text: f"<6>[{us / 1e6:12.6f}] {text}"),
    _each(lambda us, text: f"[{us / 1e6:12.6f}][    T0] {text}"),
    _each(lambda us, text: f"kern  :info  : [{us / 1e6:12.6f}] {text}"),
    _each(lambda us, text: f"Nov 26 10:00:0{us % 10} host kernel: [{us / 1e6:12.6f}] {text}"),
    _each(lambda us, text: f"2026-11-26T10:00:0{us % 10}.000000+00:00 host kernel: {text}"),
    _each(lambda us, text: f"[Thu Nov 26 10:00:0{us % 10} 2026] {text}"),
    _each(lambda us, text: f"6,{us % 1000},{us},-;{text}"),
    _each(lambda us, text: f"> [{us / 1e6:12.6f}] {text}"),
    _each(lambda us, text: json.dumps({"dt": "2026", "lvl": "target", "msg": f"[{us / 1e6:12.6f}] {text}"})),
    _steps, _json_lines, _json_whole, _export,
    lambda lines: text_of(lines).replace(b"\n", b"\r\n"),
    lambda lines: ("<html><body><pre>" + html.escape("\n".join(lines)) + "</pre>").encode("utf-8", "replace"),
    lambda lines: quopri.encodestring(text_of(lines)),
    lambda lines: "\n".join(lines).encode("utf-16", "replace"),
    lambda lines: text_of([part for line in lines for part in (line[:79], line[79:]) if part]),
    lambda lines: text_of([part for line in lines for part in (line, line)]),
    lambda lines: base64.b64encode(text_of(lines)),
)  # fmt: skip
PACKERS: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: gzip.compress(data, 1), lambda data: bz2.compress(data, 1),
    lambda data: lzma.compress(data, preset=0), lambda data: zstandard.compress(data, 1),
)  # fmt: skip


# folders of several files, damaged together

Folder = dict[str, bytes]


@cache
def folders() -> tuple[tuple[tuple[str, bytes], ...], ...]:
    """The captured folders, file by file."""
    found = []
    for path in sorted(CAPTURES.iterdir()):
        if (path / "boot_params.bin").is_file():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            found.append(tuple((str(file.relative_to(path)), file.read_bytes()) for file in files))
    return tuple(found)


def captured_folder(chance: Random) -> Folder:
    """A captured folder with one to four files damaged, lost, emptied, or of another machine."""
    found = dict(chance.choice(folders()))
    for name in chance.sample(sorted(found), chance.randint(1, min(4, len(found)))):
        what = chance.randrange(20)
        if what < 14:
            found[name] = _damaged_file(chance, name, found[name])
        elif what < 16:
            del found[name]
        elif what < 17:
            found[name] = b""
        else:
            found[name] = dict(chance.choice(folders())).get(name, b"")
    return found


def _damaged_file(chance: Random, name: str, data: bytes) -> bytes:
    if name.endswith((".bin", ".dat")):
        return overwritten(chance, data) if len(data) > 8 and chance.randrange(8) else damaged(chance, data, least=1)
    return text_of(edited(chance, data.decode("utf-8", "replace").splitlines() or [""], 6))


def collected_files(chance: Random) -> Folder:
    """What an owner has of a machine: a log, lspci's text, acpidump's text, a configuration, a resource tree."""
    log, files = chance.choice(_collected())
    found = {"dmesg.txt": text_of(edited(chance, log, 4)), **files}
    for name in chance.sample(sorted(files), chance.randint(0, len(files))):
        if one_in(chance, 4):
            del found[name]
        else:
            lines = files[name].decode("utf-8", "replace").splitlines()
            found[name] = text_of(edited(chance, lines, 5))
    return found


CONFIG = (
    "# Linux/x86 6.12.0 Kernel Configuration", "CONFIG_HZ=250", "CONFIG_NR_CPUS=8192", "CONFIG_NODES_SHIFT=10",
    "# CONFIG_DEFERRED_STRUCT_PAGE_INIT is not set", "CONFIG_PREEMPT_DYNAMIC=y", 'CONFIG_CMDLINE=""',
    "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP=y", "CONFIG_LOG_BUF_SHIFT=17", 'CONFIG_LOCALVERSION="-x"',
    "CONFIG_PHYSICAL_START=0x1000000", "CONFIG_X86_X2APIC=m",
)  # fmt: skip
IOMEM = (
    "00000000-00000fff : Reserved", "00001000-0009fbff : System RAM", "0009fc00-0009ffff : Reserved",
    "000a0000-000bffff : PCI Bus 0000:00", "000f0000-000fffff : System ROM", "00100000-7ffdbfff : System RAM",
    "  01000000-01e02526 : Kernel code", "  02000000-02a8dfff : Kernel rodata", "  02c00000-02ff5e7f : Kernel data",
    "  034a6000-035fffff : Kernel bss", "7ffdc000-7fffffff : ACPI Tables", "b0000000-bfffffff : PCI ECAM 0000",
    "fec00000-fec003ff : IOAPIC 0", "fee00000-fee00fff : Local APIC", "100000000-17fffffff : System RAM",
)  # fmt: skip
STARTUP = (
    "Startup finished in 1.2s (firmware) + 1.4s (loader) + 2.313s (kernel) + 3.1s (initrd) + 4.2s (userspace) = 12.2s",
    "graphical.target reached after 4.1s in userspace.",
)


def acpidump_text(tables: Sequence[tuple[str, bytes]]) -> list[str]:
    """As acpidump prints tables."""
    lines = []
    for number, (name, data) in enumerate(tables):
        lines.append(f"{name} @ 0x{0x7FFE0000 + 0x1000 * number:016X}")
        for at in range(0, len(data), 16):
            row = data[at : at + 16]
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
            lines.append(f"  {at:04X}: {' '.join(f'{byte:02X}' for byte in row):<48} {text}")
        lines.append("")
    return lines


@cache
def _collected() -> tuple[tuple[tuple[str, ...], Folder], ...]:
    found = []
    for folder in map(dict, folders()):
        tables = [(name[5:9], data) for name, data in folder.items() if name.startswith("acpi/")]
        files = {"config-6.12": text_of(CONFIG), "iomem.txt": text_of(IOMEM), "acpidump.txt": text_of(
            acpidump_text(tables)), "lspci.txt": folder.get("pci/lspci-xxxx.txt", b"")}  # fmt: skip
        found.append((tuple(folder["dmesg.txt"].decode("utf-8", "replace").splitlines()), files))
    return tuple(found)


def side_text(chance: Random) -> tuple[str, bytes]:
    """(kind, text) of one file that stands beside a log, edited."""
    kind = chance.choice(("config", "iomem", "startup", "acpidump", "cpuid", "msr", "zoneinfo"))
    lines = {"config": CONFIG, "iomem": IOMEM, "startup": STARTUP}.get(kind) or _captured_text(chance, kind)
    lines = edited(chance, lines, 5)
    if one_in(chance, 10):
        lines.insert(chance.randint(0, len(lines)), chance.choice((*WORDS, str(edge_number(chance)))))
    return kind, text_of(lines)


def _captured_text(chance: Random, kind: str) -> list[str]:
    folder = dict(chance.choice(folders()))
    if kind == "acpidump":
        return acpidump_text([(name[5:9], data) for name, data in folder.items()
                              if name.startswith("acpi/") and len(data) < 2000])  # fmt: skip
    return folder.get(f"{kind}.txt", b"").decode("utf-8", "replace").splitlines()[:400] or [""]
