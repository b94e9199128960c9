"""The command line's two passes: order, malformed values, and what is left for init."""

from __future__ import annotations

from minikern.core.cmdline import CommandLine
from minikern.core.release import load_release
from minikern.init.params import unmodelled_words
from tests.support import run, texts


def lines(append: str, since: str = "Command line: ", release: str = "debian-6.12") -> list[str]:
    text = texts(run("tiny", release=release, append=append))
    return text[next(i for i, line in enumerate(text) if line.startswith(since)) + 1 :]


def early(append: str) -> list[str]:
    """What the early options print: the lines before the next step of setup_arch()."""
    text = lines(append)
    return [line for line in text[: text.index("NX (Execute Disable) protection: active")] if "BIOS-" not in line]


def test_early_options_speak_in_the_order_of_the_words() -> None:
    assert early("nosmt acpi=perhaps mem=0 swiotlb=,3 nosmt=force") == [
        "SMT: disabled",
        "Malformed early option 'acpi'",
        "Malformed early option 'mem'",
        "software IO TLB: area num 4.",
        "SMT: Force disabled",
    ]


def test_the_word_is_named_as_it_was_written() -> None:
    assert early("apic=loud")[-1] == "Malformed early option 'apic'"
    assert early("mem=nopentium") == [
        "mem=nopentium ignored! (only supported on x86_32)",
        "Malformed early option 'mem'",
    ]


def test_the_last_word_about_the_number_of_cpus_counts() -> None:
    assert len(run("tiny", append="maxcpus=1 maxcpus=2").kernel.cpus.online) == 2
    assert len(run("tiny", append="maxcpus=2 nosmp").kernel.cpus.online) == 1
    assert len(run("tiny", append="nr_cpus=1 nr_cpus=2").kernel.cpus.possible) == 1  # it can only fall


def test_a_setup_handler_that_wants_nothing_leaves_the_word_to_init() -> None:
    text = lines("isolcpus=nothing,9 nohz_full=1", "Kernel command line: ")
    assert text[0].startswith("isolcpus: ") or text[0].startswith("Housekeeping: ")
    unknown = next(line for line in text if line.startswith("Unknown kernel command line parameters"))
    assert '"isolcpus=nothing,9"' in unknown


def test_unknown_words_of_pci_are_named_in_their_place() -> None:
    assert early("pci=nomsi,bogus nosmt pci=noats,realloc=off,nommconfx") == [
        "PCI: Unknown option `bogus'",
        "SMT: disabled",
        "PCIe: ATS is disabled",
        "PCI: Unknown option `nommconfx'",
    ]


def test_words_of_pci_take_each_other_back() -> None:
    assert run("tiny", append="pci=off,conf1").kernel.pci.devices  # conf1 says how, and so that it is to be tried
    assert not run("tiny", append="pci=conf1,off").kernel.pci.devices
    assert not run("tiny", append="pci=nommconf,conf1").kernel.pci.ecam


def test_pci_noacpi_alone_keeps_acpi_from_the_bus() -> None:
    bridge = "ACPI: PCI Root Bridge [PCI0] (domain 0000 [bus 00-ff])"
    assert bridge not in lines("pci=noacpi")
    assert bridge in lines("pci=noacpi,nomsi")  # as one word of several it only takes the interrupts
    assert "ACPI: Using IOAPIC for interrupt routing" in lines("pci=nomsi")
    assert "ACPI: Using PIC for interrupt routing" in lines("pci=noacpi,nomsi")


def test_acpi_force_takes_off_back() -> None:
    assert "ACPI: Interpreter disabled." in lines("acpi=off")
    assert "ACPI: Interpreter enabled" in lines("acpi=off acpi=force")


def unmodelled(line: str, release: str = "debian-6.12") -> list[str]:
    return unmodelled_words(CommandLine(line), load_release(release))


def test_what_linux_knows_and_nobody_models_is_named() -> None:
    assert unmodelled("oops=x pcie_pme=nomsi rodata=off nokaslr nvme.poll_queues=4 oops=x") == [
        "oops=x", "rodata=off", "nokaslr", "nvme.poll_queues=4",
    ]  # fmt: skip
    assert unmodelled("pci=ecrc=on,nomsi,bogus acpi=copy_dsdt iommu=pt,leak numa=fake=2,3 efi=debug") == [
        "pci=ecrc=on", "iommu=leak",
    ]  # fmt: skip


def test_what_is_modelled_or_unknown_is_not_named() -> None:
    assert unmodelled("BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet console=ttyS0 mem=1G isolcpus=1 maxcpus=2") == []
    assert unmodelled("nosuch=1 single -- workqueue.debug_force_rr_cpu") == []
    assert unmodelled("mtrr=debug", "debian-6.1") == [] != unmodelled("mtrr=debug")


def test_words_for_the_console_and_the_root() -> None:
    assert "printk: debug: ignoring loglevel setting." in lines("quiet ignore_loglevel")
    assert "Malformed early option 'loglevel'" in lines("loglevel=loud")
    unknown = [line for line in lines("ro rodata=on rootless=1") if line.startswith("Unknown")]
    assert unknown == ['Unknown kernel command line parameters "rootless=1", will be passed to user space.']


def test_values_are_judged_where_linux_judges_them() -> None:
    assert early("memtest=x init_on_alloc=perhaps efi") == [
        "Malformed early option 'memtest'",
        "Malformed early option 'init_on_alloc'",
        *["efi: need at least one option", "Malformed early option 'efi'"] * 2,
    ]
    said = lines("printk.time=later transparent_hugepage=perhaps pcie_aspm=off", "Kernel command line: ")
    assert said[0] == "Booting kernel: `later' invalid for parameter `printk.time'"
    assert said[1] == "huge_memory: transparent_hugepage= cannot parse, ignored"
    assert said[2] == "PCIe ASPM is disabled"
    assert '"transparent_hugepage=perhaps"' in said[3]


def test_tsc_words_act_when_the_line_is_parsed() -> None:
    said = lines("tsc=unstable", "Kernel command line: ")
    assert said[0] == "tsc: Marking TSC unstable due to boot parameter"
