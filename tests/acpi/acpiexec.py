"""ACPICA's own acpiexec as judge: what it prints, read into values that can be compared with ours.

Its kernel is a machine whose ports and memory read as zero: the tool starts every operation region so.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hw.bus import Bus
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.evaluate import evaluate as evaluated
from minikern.acpi.reg import execute_reg_methods
from minikern.acpi.spaces import DATA_TABLE, Region, SpaceHandler, table_space
from minikern.acpi.values import AmlError, IndexRef, NodeRef, RefOf
from minikern.state.acpi import AcpiState, Table
from tests.acpi.support import CORPORA, SmallKernel, small_kernel

HANDLED_LATE = (3, 4, 9, 10, 0x7F, 0x80, 0x81)
"""Address spaces the tool installs its own handler for, and says so to _REG, once the tables are loaded."""
_ELEMENT = re.compile(r"^( *)\[([A-Z][A-Za-z]+(?: Reference| Object| Object Descriptor)?)\] ?(.*)$")
_BYTES = re.compile(r"[0-9A-F]{4}: ((?:[0-9A-F]{2} ?)+) ")
_FAILED = re.compile(r"failed with status (AE_\w+)")

_ESCAPED = re.compile(r"\\(x(?:FFFFFF)?[0-9A-F]{2}|.)")
_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _unescaped(found: re.Match[str]) -> str:
    word = found[1]
    return chr(int(word[-2:], 16)) if len(word) > 1 else _CONTROLS.get(word, word)


def verdict(dump: Path) -> dict[str, Any]:
    """What acpiexec made of a dump of the corpora, as it was written down."""
    name = dump.name.removesuffix(".acpidump.txt.gz")
    answer: dict[str, Any] = json.loads(gzip.decompress((CORPORA / "acpiexec" / f"{name}.json.gz").read_bytes()))
    return answer


def have_tools() -> bool:
    """True where acpiexec and the ASL compiler are installed."""
    return all(shutil.which(tool) for tool in ("acpiexec", "iasl"))


def compile_asl(folder: Path, text: str) -> Path | None:
    """The table an ASL program compiles to, unoptimised; None when the compiler refuses it."""
    source = folder / "program.asl"
    source.write_text(text)
    subprocess.run(["iasl", "-oa", "-f", source.name], cwd=folder, capture_output=True, check=False)
    made = sorted(folder.glob("*.aml"))
    return made[0] if made else None


def ask(tables: list[Path], paths: list[str]) -> dict[str, str]:
    """acpiexec's answers to the evaluation of each path, in that order, all in one run; empty when it crashed."""
    commands = "".join(f"evaluate {path}\n" for path in paths) + "quit\n"
    done = subprocess.run(["acpiexec", *map(str, tables)], input=commands.encode(), capture_output=True, check=False)
    text = done.stdout.decode("latin-1")
    if "Segmentation Fault" in text:
        return {}
    parts = re.split(r"^Evaluating (\S+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


_CUT = re.compile(r"^((?:(?:Firmware |ACPI )?(?:Error|Warning|ACPI)(?: \(ACPI\))?: )+)\n(?=\S)", re.MULTILINE)


def _whole(text: str) -> str:
    """The tool's second thread writes a newline whenever it comes to it: a message that one has cut is put together."""
    text = _CUT.sub(r"\1", text)
    return re.sub(r"\n(?= \(\d{8}/\w+-\d+\))", "", text)


_NODE = re.compile(r"^ ?(\d+) +(\S{4}) (\w+) +0x[0-9a-f]+ [0-9A-F]{3}")
_MESSAGE = re.compile(
    r"(Firmware|ACPI( BIOS)?) (Error|Warning)|ACPI: (Ignoring|Skipping|Marking|Actual|Dynamic|\d+ ACPI AML|\\\S+: )"
)


def loaded(tables: list[Path]) -> tuple[dict[str, str], list[str]]:
    """The namespace acpiexec has after loading and initialising, path to type, and what it complained of until then."""
    done = subprocess.run(
        ["acpiexec", *map(str, tables)], input=b"namespace\nquit\n", capture_output=True, check=False
    )
    before, _, after = _whole(done.stdout.decode("latin-1")).partition("ACPI Namespace")
    stack: list[str] = []
    found = {}
    for line in after.splitlines():
        node = _NODE.match(line)
        if node:
            stack = [*stack[: int(node[1])], node[2]]
            found["\\" + ".".join(stack)] = node[3]
    # \_TI_ holds acpiexec's own temporary object
    return {path: kind for path, kind in found.items() if not path.startswith("\\_TI_")}, kinds(before.splitlines())


def kinds(lines: list[str]) -> list[str]:
    """ACPICA's messages without what differs between two builds: source lines, addresses, opcodes' names."""
    found = []
    for line in lines:
        text = line.removeprefix("Final data object initialization: ")
        if not _MESSAGE.match(text) or "utstanding" in text:
            continue
        text = text.replace("Firmware Error (ACPI):", "ACPI BIOS Error (bug):")
        text = text.replace("Firmware Warning (ACPI):", "ACPI BIOS Warning (bug):")
        text = re.sub(r" \(\d{8}/(\w+)-\d+\)", r" (\1)", text)
        text = re.sub(r"opcode: \w+ \(", "opcode: OpcodeName unavailable (", text)
        text = re.sub(r"operands for \[\w+\]", "operands for [OpcodeName unavailable]", text)
        found.append(re.sub(r"0x[0-9a-f]{8,}|\b[0-9a-f]{16}\b", "PTR", text))
    return found


class RegionBuffers:
    """Every operation region is memory of its own that starts as zeros, whatever its space."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[int, int, int], bytearray] = {}

    def __call__(self, run: Any, region: Region, address: int, size: int, value: int | None) -> int:
        key = region.space, region.offset, region.length
        buffer = self.buffers.setdefault(key, bytearray(region.length + 16))
        at = address - region.offset
        if value is None:
            return int.from_bytes(buffer[at : at + size], "little")
        buffer[at : at + size] = value.to_bytes(size, "little")
        return 0


def kernel_of(tables: list[tuple[str, bytes]]) -> SmallKernel:
    """A kernel that has loaded these tables, in this order, on a machine of zeros."""
    k = small_kernel(Bus(), acpi_core_revision="20200925")
    k.acpi = AcpiState(tables=[Table(name, number, len(data), data) for number, (name, data) in enumerate(tables)])
    buffers = RegionBuffers()
    spaces: dict[int, SpaceHandler] = dict.fromkeys(range(256), buffers) | {DATA_TABLE: table_space}
    assert acpi_load_tables(k, slack=False, spaces=spaces)
    return k


def initialize(k: SmallKernel) -> None:
    """What acpiexec does after loading: device initialisation."""
    from minikern.acpi.acpi_init import acpi_initialize_objects

    for space in HANDLED_LATE:
        execute_reg_methods(k.acpi.interpreter, space)
    acpi_initialize_objects(k, k.acpi.interpreter)  # type: ignore[arg-type]


def namespace_of(k: SmallKernel) -> dict[str, str]:
    """Path and type of every object."""
    return {node.path: node.kind.value for node in k.acpi.namespace.walk()}


def parse_result(text: str) -> Any:
    """The value in acpiexec's answer to one evaluation; ("failed", status), or None when nothing came back."""
    failed = _FAILED.search(text)
    if failed:
        return ("failed", failed[1])
    lines = [line for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith("  [") and _ELEMENT.match(line):
            return _value(lines, number)[0]
    return None


def _value(lines: list[str], at: int) -> tuple[Any, int]:
    found = _ELEMENT.match(lines[at])
    assert found is not None, lines[at]
    kind, rest = found[2], found[3]
    if kind == "Integer":
        return int(rest.removeprefix("= "), 16), at + 1
    if kind == "String":
        return _ESCAPED.sub(_unescaped, rest.split('"', 1)[1].rsplit('"', 1)[0]), at + 1
    if kind == "Buffer":
        return _bytes(lines, at)
    if kind == "Package":
        count, values = int(rest.split()[1]), []
        at += 1
        for _ in range(count):
            value, at = _value(lines, at)
            values.append(value)
        return values, at
    if kind == "Object Reference":
        name = re.search(r"Name (\S+)", rest)
        return ("reference", name[1] if name else rest), at + 1
    return (None if kind == "Null Object" else (kind, rest)), at + 1


def _bytes(lines: list[str], at: int) -> tuple[bytes, int]:
    length = int(lines[at].split("Length ")[1].split()[0], 16)
    data = b""
    inline = _BYTES.search(lines[at] + " ")
    if inline:
        data += bytes.fromhex(inline[1])
    at += 1
    while len(data) < length and at < len(lines):
        row = _BYTES.search(lines[at])
        if row:
            data += bytes.fromhex(row[1])
        at += 1
    return data[:length], at


def evaluate(k: SmallKernel, path: str, args: list[Any] | None = None) -> Any:
    """Our value of the object, in the same shape."""
    node = k.acpi.namespace.find(path)
    assert node is not None, path
    try:
        return plain(evaluated(k.acpi.interpreter, node, args or []))
    except AmlError as problem:
        return ("failed", problem.status)


def plain(value: Any) -> Any:
    """A value of ours as acpiexec's answers are read."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, str):
        return value.split("\0", 1)[0]  # the tool prints no further
    if isinstance(value, NodeRef):
        return ("reference", value.node.name)
    if isinstance(value, RefOf | IndexRef):
        return ("reference", "")
    return value
