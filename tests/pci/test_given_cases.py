"""PCI of machines that was wrong once, as they were given: what a case's page says holds.

The pages stand beside the checkout in ../shared/cases/pci-kexec; what they say is read from them. Groups are also held
against the captured ones.
"""

from __future__ import annotations

import gzip
import re
from functools import cache, partial
from pathlib import Path

import pytest

from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.support import CAPTURES, SHARED, case_page, texts

CASES = SHARED / "cases/pci-kexec"
HERE = {"mf-nic", "pch-acs", "pci-options", "sriov", "log-pci-cost", "log-pci-is-lpc2023", "serial-console"}
ELSEWHERE = {"capture-without-dmesg", "kexec-3g", "kexec-fifo", "kho-on-7.2"}  # tests/kexec/test_given_cases.py
LOGS = SHARED / "corpora" / "dmesg"
GROUP = re.compile(r"^pci (\S+): Adding to iommu group (\d+)$")

page = partial(case_page, CASES)
pytestmark = pytest.mark.oracle


@cache
def emulated(machine: Path, append: str = "") -> list[str]:
    return texts(boot(load_machine(str(machine)), append=append))


def groups(lines: list[str]) -> dict[str, int]:
    return {match[1].removeprefix("0000:"): int(match[2]) for line in lines if (match := GROUP.match(line))}


def captured_groups(folder: Path) -> dict[str, int]:
    text = (folder / "iommu-groups.txt").read_text()
    found = re.findall(r"(\d+)\D.*?([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", text)
    return {address.removeprefix("0000:"): int(number) for number, address in found}


def test_every_case_has_its_test() -> None:
    if not CASES.is_dir():
        pytest.skip("no shared/cases beside the checkout")
    assert {path.name for path in CASES.iterdir()} <= HERE | ELSEWHERE


def test_functions_of_an_adapter_are_apart() -> None:
    told = re.search(r": (52:00\.0) and (52:00\.1) in groups of their own", page("mf-nic"))
    assert told is not None
    found = groups(emulated(CASES / "mf-nic"))
    alone = [name for name in told.groups() if list(found.values()).count(found[name]) == 1]
    assert alone == list(told.groups())


def test_ports_of_a_pch_are_opened_and_apart() -> None:
    text = page("pch-acs")
    lines = emulated(CASES / "pch-acs")
    for line in re.findall(r"'(pci 0000:00:1c\.0: [^']+)'", text):
        assert line in lines
    names = re.search(r"gives (\S+), (\S+), (\S+), (\S+) four groups", text)
    assert names is not None
    found = groups(lines)
    full = [name if ":" in name else f"00:{name}" for name in names.groups()]
    assert len({found[name] for name in full}) == 4


def test_room_for_virtual_functions_is_told() -> None:
    total = re.search(r"contains BAR 0 for (\d+) VFs'", page("sriov"))
    assert total is not None
    lines = [line for line in emulated(CASES / "sriov") if "00:06.0: VF BAR 0" in line]
    assert len(lines) >= 2 and lines[1].endswith(f": contains BAR 0 for {total[1]} VFs")


def test_words_of_the_command_line_change_what_they_do_in_linux() -> None:
    """``pci=realloc`` is given with 5 tries at a depth of 4. Linux prints ``max bus depth: %d pci_try_num: %d`` of
    pci_bus_get_depth() and depth + 1 (drivers/pci/setup-bus.c @ v6.12); the captured machine's deepest bus lies three
    bridges below the root, as its own lspci tree shows, so a real kernel of it says 3 and 4.
    """
    text, folder = page("pci-options"), CAPTURES / "q35-pci-iommu"
    if not folder.is_dir():
        pytest.skip("no shared/captures beside the checkout")
    base = emulated(folder)
    refused = re.search(r"'(acpi PNP0A08:00: PCIe port services disabled[^']+)'", text)
    unknown = re.search(r'"(PCI: Unknown option `bogus\')"', text)
    assert refused is not None and unknown is not None
    assert refused[1] in emulated(folder, "pcie_ports=compat") and refused[1] not in base
    assert unknown[1] in emulated(folder, "pci=bogus")
    controls = [line for line in emulated(folder, "pci=noaer") if "OS now controls" in line]
    assert "AER" not in controls[0] and "AER" in next(line for line in base if "OS now controls" in line)
    # Windows for memory came from the firmware here, as the real log shows: it has optional room for ports alone. Only
    # a window without a place is sized (setup-bus.c:pbus_size_mem() @ v6.12); tests/pci/test_words.py has such.
    assert not any("pref] to [bus" in line for line in (*base, *emulated(folder, "pci=hpmemsize=64M")))
    tree = (folder / "pci/lspci-tree.txt").read_text()
    depth = max(len(re.findall(r"-\[[0-9a-f]{2}", line)) for line in tree.splitlines()[1:])
    assert f"pci_bus 0000:00: max bus depth: {depth} pci_try_num: {depth + 1}" in emulated(folder, "pci=realloc")


def test_ports_are_silent_where_firmware_keeps_them() -> None:
    folder = CAPTURES / "q35-pci-iommu"
    if not folder.is_dir():
        pytest.skip("no shared/captures beside the checkout")
    assert any(line.startswith("pcieport ") for line in emulated(folder))
    assert not any(line.startswith("pcieport ") for line in emulated(folder, "pcie_ports=compat"))
    assert not any("AER" in line for line in emulated(folder, "pci=noaer") if line.startswith("pcieport "))


def test_the_functions_of_a_log_are_its_own() -> None:
    told = re.search(r"itself lists (\d+) functions on (\d+) root buses, (\d+) 'Adding", page("log-pci-is-lpc2023"))
    path = LOGS / "genoa-1s-256cpu-kvmhost.log.gz"
    if told is None or not path.is_file():
        pytest.skip("no such log beside the checkout")
    lines = emulated(path)
    named = [line for line in lines if re.search(r"^pci 0000:\S+: \[\S+\] type 0[01] class", line)]
    roots = [line for line in lines if line.startswith("PCI host bridge to bus")]
    assert (len(named), len(roots), len(groups(lines))) == tuple(map(int, told.groups()))


def test_a_function_takes_the_time_the_log_shows() -> None:
    told = re.search(r"(\d+) functions in ([\d.]+) ms", page("log-pci-cost"))
    path = LOGS / "csl-2s-96cpu-lkp.log.gz"
    if told is None or not path.is_file():
        pytest.skip("no such log beside the checkout")
    log = boot(load_machine(str(path))).kernel.log.lines
    ends = [line.ts_ns for line in log if re.search(r"type 0[01] class", line.text)]
    starts = [line.ts_ns for line in log if line.text.startswith("PCI host bridge to")]
    # The log has lost the line of 00:14.0, and without its first function a slot's others are never looked for.
    real_names = re.findall(r"pci (\S+): \[\S+\] type 0[01] class", gzip.decompress(path.read_bytes()).decode())
    lost = [name for name in real_names if f"{name[:-1]}0" not in real_names]
    assert len(real_names) == int(told[1]) and len(ends) == len(real_names) - len(lost) and len(lost) == 1
    each, real = (ends[-1] - starts[0]) / len(ends) / 1e6, float(told[2]) / int(told[1])
    assert real / 4 < each < real * 4, "costs of its family, without its time stamps"


def test_a_serial_console_costs_what_its_speed_says() -> None:
    """The page's figure is of the whole log; the emulated lines are fewer, and each byte costs the same."""
    told = re.search(r"([\d,]+) bytes x ([\d.]+) us", page("serial-console"))
    path = LOGS / "genoa-1s-256cpu-kvmhost.log.gz"
    if told is None or not path.is_file():
        pytest.skip("no such log beside the checkout")
    real = gzip.decompress(path.read_bytes()).decode(errors="replace")
    assert "console=ttyS1,115200" in real
    kernel = boot(load_machine(str(path))).kernel
    sent = [entry for entry in kernel.ledger.entries() if entry.kind == "serial_char"]
    spent = sum(entry.total_ns for entry in sent if entry.cpu == 0)
    written = sum(len(line.text) for line in kernel.log.lines)
    assert spent > 0.7 * written * float(told[2]) * 1000, [entry.kind for entry in sent]
