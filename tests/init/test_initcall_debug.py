"""``initcall_debug``: what analysers of boot logs read."""

from __future__ import annotations

import re

from minikern.lab.run import Boot
from tests.support import run, texts

_CALLING = re.compile(r"calling  (\w+)\+0x[0-9a-f]+/0x[0-9a-f]+ @ 1$")
_RETURNED = re.compile(r"initcall (\w+)\+0x[0-9a-f]+/0x[0-9a-f]+ returned 0 after (\d+) usecs$")


def spent_us(done: Boot) -> dict[str, tuple[int, int]]:
    """Each initcall's logged us, and ns between its two lines; they never nest."""
    found: dict[str, tuple[int, int]] = {}
    begun: tuple[str, int] | None = None
    for line in done.kernel.log.lines:
        if match := _CALLING.match(line.text):
            assert begun is None and match[1] not in found
            begun = match[1], line.ts_ns
        elif match := _RETURNED.match(line.text):
            assert begun is not None and begun[0] == match[1]
            found[match[1]] = int(match[2]), line.ts_ns - begun[1]
            begun = None
    assert begun is None
    return found


def test_each_initcall_says_how_long_it_took() -> None:
    found = spent_us(run("tiny", append="initcall_debug"))
    assert list(found)[:1] == ["e820__register_nvs_regions"] and list(found)[-1:] == ["microcode_init"]
    assert {"acpi_init", "pci_arch_init", "hugetlb_init", "populate_rootfs", "pci_iommu_init"} <= set(found)
    assert all(us == ns // 1000 for us, ns in found.values())
    assert found["acpi_init"][0] > 1000


def test_older_kernels_count_1024_ns() -> None:
    found = spent_us(run("tiny", append="initcall_debug", release="linux-5.10"))
    assert all(us == ns >> 10 for us, ns in found.values())
    assert found["acpi_init"][0] < found["acpi_init"][1] // 1000


def test_the_other_lines_are_the_same() -> None:
    plain, told = texts(run("tiny", append="quiet")), texts(run("tiny", append="quiet initcall_debug"))
    kept = [text for text in told if not _CALLING.match(text) and not _RETURNED.match(text)]
    assert [text.replace(" initcall_debug", "") for text in kept] == plain
    assert not spent_us(run("tiny", append="initcall_debug=0"))


def test_consoles_are_spared_below_their_level() -> None:
    plain, told = run("tiny"), run("tiny", append="initcall_debug")
    chars = [done.kernel.ledger.count("serial_char") for done in (plain, told)]
    assert abs(chars[1] - chars[0]) < 200  # the longer command line, twice
    assert run("tiny", append="initcall_debug ignore_loglevel").kernel.ledger.count("serial_char") > chars[1] + 1000
