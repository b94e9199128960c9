"""A boot log as a machine: what is read, what is assumed, and that booting it tells the same story again."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import InputError, MachineStopped
from minikern.core.release import release_for_version
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_machine, load_preset
from minikern.lab.run import boot
from minikern.report.dmesg import format_dmesg

CORPUS = Path(__file__).parents[2] / "../shared/corpora/dmesg"
CLASSES = re.compile(
    r"BIOS-|e820: |last_pfn|.*available for PCI|SRAT|ACPI: S|NUMA|NODE_DATA|Zone ranges|  (DMA|Normal|Device)|Initmem"
    r"|  node|On node|Fallback|Built|Policy"
)
SMALL_LOG = """\
[    0.000000] Linux version 5.4.0-42-generic (build@host) (gcc version 9.3.0) #46-Ubuntu SMP
[    0.000000] Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff] usable
[    0.000000] BIOS-e820: [mem 0x000000003ffe0000-0x000000003fffffff] ACPI data
[    0.000000] tsc: Detected 2893.202 MHz processor
[    0.000000] e820: update [mem 0x00000000-0x00000fff] usable ==> reserved
[    0.000000] last_pfn = 0x3ffe0 max_arch_pfn = 0x400000000
[    0.010000] ACPI: PM-Timer IO Port: 0x608
[    0.010000] smpboot: Allowing 2 CPUs, 0 hotplug CPUs
[    0.010000] No NUMA configuration found
[    0.020000] Memory: 1K/2K available (14339K kernel code, 2400K rwdata, 4952K rodata, 2712K init, 4992K bss, 9K)
[    0.100000] smpboot: CPU0: Intel Xeon E3-12xx v2 (family: 0x6, model: 0x3a, stepping: 0x9)
"""


def write(folder: Path, text: str, name: str = "dmesg.txt") -> str:
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return str(path)


def story(spec: Case) -> list[str]:
    lines = [line.text for line in boot(spec).kernel.log.lines]
    return [line for line in lines if CLASSES.match(line)]


@pytest.fixture(scope="module")
def own_log() -> str:
    spec = load_preset("tiny")
    adjust(spec, Adjustments(cpus="4,sockets=2", memory="", numa=["3G,cpus=0-1", "2G,cpus=2-3", "1G"]))
    spec.banner = "Linux version 6.1.0-56-amd64 (test) #1 SMP"
    spec.append += " nokaslr"
    return format_dmesg(boot(spec, release="debian-6.1").kernel)


def test_more_cpus_to_come_than_there_may_be(tmp_path: Path) -> None:
    text = SMALL_LOG.replace("2 CPUs, 0 hotplug", "2 CPUs, 256 hotplug")
    assert load_machine(write(tmp_path, text)).cpus.count == 1
    brought = f"{text}[    0.2] smp: Brought up 1 node, 2 CPUs\n"
    assert load_machine(write(tmp_path, brought)).cpus.count == 2


def test_small_log(tmp_path: Path) -> None:
    spec = load_machine(write(tmp_path, SMALL_LOG))
    assert spec.append == "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet"
    assert spec.cpus.count == 2
    assert spec.cpus.tsc_khz == 2_893_202
    assert (spec.cpus.family, spec.cpus.model, spec.cpus.stepping) == (6, 0x3A, 9)
    assert [entry.type for entry in spec.e820] == [1, 2, 1, 3]
    assert spec.acpi.pm_timer_port == 0x608
    assert any(note.startswith("read: ") for note in spec.notes)
    assert any(note.startswith("assumed: ") for note in spec.notes)
    log = [line.text for line in boot(spec).kernel.log.lines]
    assert "Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet" in log
    assert "BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff] usable" in log
    assert "Zone ranges:" in log
    assert not any("unavailable ranges" in line for line in log)  # not in 5.4


def test_log_of_a_boot_boots_the_same(tmp_path: Path, own_log: str) -> None:
    first = [text for line in own_log.splitlines() if CLASSES.match(text := re.sub(r"^\[ *[\d.]+\] ", "", line))]
    for name in ("dmesg.txt", "dmesg.gz"):
        again = story(load_machine(write(tmp_path, own_log, name)))
        assert len(first) > 50
        assert again == first


def test_prefixes_do_not_matter(tmp_path: Path) -> None:
    plain = load_machine(write(tmp_path, SMALL_LOG)).e820
    bare = "".join(re.sub(r"^\[ *[\d.]+\] ", "", line) for line in SMALL_LOG.splitlines(True))
    journal = "".join("Nov 22 10:00:00 host kernel: " + line for line in SMALL_LOG.splitlines(True))
    threads = SMALL_LOG.replace("] ", "][    T0] ", 1).replace("0.000000] B", "0.000000][    T0] B")
    for text in (bare, journal, threads, SMALL_LOG.replace("\n", "\r\n"), "<6>" + SMALL_LOG.replace("\n[", "\n<6>[")):
        assert load_machine(write(tmp_path, text)).e820 == plain


def test_first_of_two_boots_or_the_one_asked_for(tmp_path: Path) -> None:
    second = SMALL_LOG.replace("ro quiet", "ro second")
    name = write(tmp_path, "garbage\n" + SMALL_LOG + second)
    assert load_machine(name).append.endswith("quiet")
    assert "read: boot 1 of 2" in load_machine(name).notes[0]
    assert load_machine(f"{name}:2").append.endswith("second")
    with pytest.raises(InputError, match="boot 3 of a log with 2"):
        load_machine(f"{name}:3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no boot log"),
        ("hello\nworld\n", "no boot log"),
        ("Linux version 6.1.0\nno map here\n", "no boot log"),
        ("Linux version 6.1.0\nBIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] reserved\n", "no usable memory"),
    ],
)
def test_other_text_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_machine(write(tmp_path, text, "some.log"))


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    data = gzip.compress(SMALL_LOG.encode())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="gzip file"):
        load_machine(str(path))
    path.write_bytes(data[:10] + bytes(50))
    with pytest.raises(InputError, match="gzip file"):
        load_machine(str(path))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_damaged_logs_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    lines = SMALL_LOG.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = data.draw(st.integers(0, len(line)))
        digit = data.draw(st.sampled_from("0123456789abcdef[]()-x "))
        lines[at] = data.draw(st.sampled_from([line[:cut], line[:cut] + digit + line[cut + 1 :], line + line]))
    name = write(tmp_path_factory.mktemp("log"), "\n".join(lines))
    try:
        boot(load_machine(name))
    except (InputError, MachineStopped) as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("3.10.0-1160.el7", "linux-4.15"),
        ("5.4.0-42-generic", "linux-5.4"),
        ("5.9.0", "linux-5.8"),
        ("5.15.0-91-generic", "linux-5.10"),
        ("5.19.0-rc3", "linux-5.19"),
        ("6.1.0-56-amd64", "debian-6.1"),
        ("6.5.0-14-generic", "linux-6.4"),
        ("6.8.0-40-generic", "linux-6.8"),
        ("6.12.117+deb12-amd64", "debian-6.12"),
        ("6.16.0-next", "linux-6.16"),
        ("6.19.7", "linux-6.16"),
        ("7.0.0-3-amd64", "debian-7.2"),
        ("7.2.1", "debian-7.2"),
        ("6.4.0-lpc2023", "lpc2023"),
    ],
)
def test_nearest_release(version: str, release: str) -> None:
    assert release_for_version(f"Linux version {version} (x) #1") == release


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no shared/corpora beside the checkout")
@pytest.mark.parametrize("name", ["skx-2s-88cpu-5.5rc7", "t440-2s-16cpu-kexec"])
def test_server_logs(name: str) -> None:
    path = CORPUS / f"{name}.log.gz"
    done = boot(load_machine(str(path)))
    text = format_dmesg(done.kernel)
    emulated = [line for raw in text.splitlines() if CLASSES.match(line := re.sub(r"^\[ *[\d.]+\] ", "", raw))]
    stamped = gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()
    real = {re.sub(r"^\[ *[\d.]+\] ?", "", line).rstrip() for line in stamped}
    assert sum(line.rstrip() in real for line in emulated) >= 0.97 * len(emulated)


EFI_LOG = SMALL_LOG.replace("5.4.0-42-generic", "6.1.0-56-amd64").replace(
    "[    0.000000] tsc:", "[    0.000000] efi: EFI v2.70 by EDK II\n[    0.000000] tsc:"
).replace(
    "[    0.010000] ACPI: PM",
    """\
[    0.000000] esrt: Reserving ESRT space from 0x0000000030002098 to 0x00000000300020d0.
[    0.000000] e820: update [mem 0x30002000-0x30002fff] usable ==> reserved
[    0.010000] Zone ranges:
[    0.010000]   DMA      [mem 0x0000000000001000-0x0000000000ffffff]
[    0.010000]   DMA32    [mem 0x0000000001000000-0x000000003ffdffff]
[    0.010000]   Normal   empty
[    0.010000]   Device   empty
[    0.010000]   DMA zone: 77 pages reserved
[    0.010000] e820: update [mem 0x31000000-0x31004fff] usable ==> reserved
[    0.010000] ACPI: PM""",
)


def test_tables_the_firmware_left_in_memory(tmp_path: Path) -> None:
    spec = load_machine(write(tmp_path, EFI_LOG))
    assert [(entry.start, entry.end) for entry in spec.boot.efi_tables] == [(0x30002000, 0x30003000)]
    assert [(entry.start, entry.end) for entry in spec.boot.efi_images] == [(0x31000000, 0x31005000)]
    assert spec.kernel is not None and spec.kernel.dma_reserve_pages == 77
    log = [line.text for line in boot(spec).kernel.log.lines]
    first = log.index("e820: update [mem 0x30002000-0x30002fff] usable ==> reserved")
    second = log.index("e820: update [mem 0x31000000-0x31004fff] usable ==> reserved")
    assert first < log.index("Zone ranges:") < second
    assert "e820: reserve RAM buffer [mem 0x30002000-0x33ffffff]" in log


def test_zones_the_kernel_was_built_without(tmp_path: Path) -> None:
    text = EFI_LOG.replace("[    0.010000]   DMA      [", "[    0.010000]   ... [").replace("  DMA32  ", "  ...  ")
    log = [line.text for line in boot(load_machine(write(tmp_path, text))).kernel.log.lines]
    zones = log[log.index("Zone ranges:") + 1 : log.index("Movable zone start for each node")]
    assert [line.split()[0] for line in zones] == ["Normal", "Device"]


def test_an_image_of_other_sizes_gives_back_what_is_its_own(tmp_path: Path) -> None:
    sizes = "(10241K kernel code, 963K rwdata, 2512K rodata, 1088K init, 1108K bss, 9K)"
    text = re.sub(r"\(14339K.*\)", sizes, SMALL_LOG).replace("5.4.0-42", "6.1.0-42")
    log = [line.text for line in boot(load_machine(write(tmp_path, text))).kernel.log.lines]
    assert "Freeing unused kernel image (text/rodata gap) memory: 2044K" in log
    assert "Freeing unused kernel image (rodata/data gap) memory: 1584K" in log
    assert "Write protecting the kernel read-only data: 16384k" in log
