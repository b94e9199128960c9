"""Questions on ACPI tables and on PCI."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from hw.acpi import aml
from hw.acpi.checksum import fix_checksum
from hw.acpi.layout import HEADER
from minikern.acpi.acpi_init import acpi_initialize_objects
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.evaluate import evaluate
from minikern.acpi.interpreter import Interpreter
from minikern.describe.acpidump import DumpedTable
from minikern.lab.acpi_source import bare_kernel
from minikern.lab.acpi_tree import find
from minikern.learn.question import Asked, Question
from minikern.pci.bars import pci_size
from minikern.state.pci import EcamRegion
from minikern.state.pci_access import ConfigAccess

TABLE_BYTES = 12
CHECKSUM_AT = 9
ALL_ONES = 0xFFFF_FFFF


def checksum(machine: Random, rng: Random) -> Asked:
    """The byte that makes a table sound."""
    data = bytearray(rng.randrange(256) for _ in range(TABLE_BYTES))
    data[CHECKSUM_AT] = 0
    return Asked(
        f"A table of {TABLE_BYTES} bytes:\n\n    {data.hex(' ')}\n\nByte {CHECKSUM_AT} is its checksum, not filled in"
        " yet. What must it be? (0x.. is fine.)",
        {"data": list(data)},
        fix_checksum(bytes(data))[CHECKSUM_AT],
        ("All bytes of a sound table add up to 0 modulo 256.", "Add the others; what is missing to a multiple of 256?"),
        "The kernel adds up every table it maps: that is why long tables take time even before they are read.",
    )


@lru_cache(maxsize=4)
def _interpreter(body: bytes) -> Interpreter:
    """An interpreter that has loaded a table with these terms."""
    length = HEADER.size + len(body)
    head = HEADER.pack(
        signature=b"DSDT", length=length, revision=2, checksum=0, oem_id=b"LEARN ", oem_table_id=b"LESSON  ",
        oem_revision=1, creator_id=b"MKRN", creator_revision=1,
    )  # fmt: skip
    kernel = bare_kernel([DumpedTable("DSDT", 0, fix_checksum(head + body))])
    acpi_load_tables(kernel)
    run = kernel.acpi.interpreter
    assert isinstance(run, Interpreter)
    acpi_initialize_objects(kernel, run)
    return run


def method(machine: Random, rng: Random) -> Asked:
    """What a method returns."""
    mask, shift, offset = rng.randrange(1, 256), rng.randrange(1, 5), rng.randrange(1, 1000)
    argument = rng.randrange(1, 1000)
    term = aml.add(aml.shift_left(aml.and_(aml.arg(0), aml.integer(mask)), aml.integer(shift)), aml.integer(offset))
    body = aml.method(r"\ASK", 1, [aml.return_(term)])
    run = _interpreter(body)
    value = evaluate(run, find(run, r"\ASK"), [argument])
    assert isinstance(value, int)
    return Asked(
        "A table's bytes hold this method:\n\n    Method (ASK, 1) {\n"
        f"        Return (Add (ShiftLeft (And (Arg0, {mask}), {shift}), {offset}))\n    }}\n\n"
        f"The bytes: {body.hex(' ')}. What does ASK({argument}) return?",
        {"mask": mask, "shift": shift, "offset": offset, "argument": argument},
        value,
        ("The innermost term is done first: And.", "Shifting left by n multiplies by 2**n."),
        "The interpreter reads an opcode byte, then its operands, each of which may be a term itself.",
    )


def bar(machine: Random, rng: Random) -> Asked:
    """How large a BAR is."""
    size = 1 << rng.randrange(8, 28)
    flags = rng.choice([0, 8])
    read_back = (ALL_ONES & ~(size - 1)) | flags
    found = pci_size(0, read_back & ~0xF, ALL_ONES & ~0xF)
    return Asked(
        f"All ones are written to a 32-bit memory BAR; {read_back:#010x} reads back. How many bytes does it decode?",
        {"read_back": read_back},
        found,
        ("The four lowest bits say what kind of BAR it is; mask them out.", "The lowest bit that is left is the size."),
        "A BAR decodes a power of two: address bits below it are wired to zero, and that is how the size is told.",
    )


class _AddressLines:
    """A CPU's loads, as a logic analyser sees them."""

    address = 0

    def read(self, address: int, size: int) -> int:
        """Note where a load goes."""
        self.address = address
        return 0


def ecam(machine: Random, rng: Random) -> Asked:
    """Where a register lies in memory."""
    base = rng.randrange(0x800, 0xF00, 0x10) << 20
    bus, device, function = rng.randrange(256), rng.randrange(32), rng.randrange(8)
    register = rng.randrange(0, 0x1000, 4)
    lines = _AddressLines()
    access = ConfigAccess(lines, conf1=False)
    access.regions = [EcamRegion(base, 0, 0, 255)]
    access.read(0, bus, device << 3 | function, register, 4)
    return Asked(
        f"The MCFG table says that configuration space lies at {base:#x} from bus 0 on. At which address is register"
        f" {register:#x} of {bus:02x}:{device:02x}.{function}?",
        {"base": base, "bus": bus, "device": device, "function": function, "register": register},
        lines.address,
        ("A function has 4 KiB, a device 8 functions, a bus 32 devices.", "bus << 20 | dev << 15 | fn << 12"),
        "That is the enhanced configuration access mechanism: a load instead of two port accesses.",
    )


QUESTIONS = (
    Question("acpi-checksum", "acpi", checksum),
    Question("acpi-method", "acpi", method),
    Question("pci-bar", "pci", bar),
    Question("pci-ecam", "pci", ecam),
)
