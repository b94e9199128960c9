"""The capture script under three shells, on a made-up root: what it takes, what it leaves out, and that it boots."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from minikern.describe.capture import spec_from_capture
from minikern.describe.presets import load_machine, load_preset
from minikern.lab.run import boot
from minikern.report.machine_files import dump_machine

SCRIPT = Path(__file__).parents[2] / "minikern/describe/capture.sh"
SHELLS = [shell for shell in (["dash"], ["bash"], ["busybox", "ash"]) if shutil.which(shell[0])]
UUID, MAC, SERIAL, HOST, USER = (
    "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "52:54:00:12:34:56", "S3Z9NX0K", "db-server7", "alice"
)  # fmt: skip
SECRETS = (UUID, MAC, MAC.replace(":", "-"), SERIAL, HOST, USER, "192.168.7.9")
DSN = bytes.fromhex("5254 00ff fe12 3456".replace(" ", ""))[::-1]
LOG_TAIL = f"""\
[    1.000000] e1000e 0000:00:19.0 eth0: (PCI Express:2.5GT/s:Width x1) {MAC}
[    1.000001] usb 1-1: SerialNumber: {SERIAL}
[    1.000002] systemd: Hostname set to <{HOST}>
[    1.000003] Run /init as init process
[    1.000004] secret of a program: {SERIAL}
"""


def put(root: Path, name: str, data: bytes | str) -> None:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    dump_machine(boot(load_preset("tiny"), release="debian-6.12"), folder)
    return folder


@pytest.fixture
def root(tmp_path: Path, dumped: Path) -> Path:
    """A root directory with what the kernel of ``tiny`` would show in it, secrets included."""
    root = tmp_path / "root"
    banner = (dumped / "version.txt").read_text().strip()
    put(root, "/proc/version", re.sub(r"\([^)]*@[^)]*\)", f"({USER}@{HOST})", banner) + "\n")
    put(root, "/proc/sys/kernel/hostname", HOST + "\n")
    words = f"root=UUID={UUID} ip=192.168.7.9 ifname=eth0:{MAC} host={HOST}"
    put(root, "/proc/cmdline", (dumped / "kernel-cmdline.txt").read_text().strip() + f" {words}\n")
    page = bytearray((dumped / "boot_params.bin").read_bytes())
    page[320 + 20 : 320 + 28] = SERIAL.encode()  # the monitor's
    put(root, "/sys/kernel/boot_params/data", bytes(page))
    for table in (dumped / "acpi").glob("*.dat"):
        put(root, f"/sys/firmware/acpi/tables/{table.stem}", table.read_bytes())
    put(root, "/sys/firmware/acpi/tables/MSDM", b"MSDM" + struct.pack("<I", 60) + bytes(28) + SERIAL.encode().ljust(24))
    (root / "sys/firmware/acpi/tables/dynamic").mkdir()
    for config in (dumped / "pci/config").glob("*.bin"):
        put(root, f"/sys/bus/pci/devices/{config.stem}/config", config.read_bytes())
    serial = bytearray(4096)
    serial[:4], serial[8:12] = bytes.fromhex("86803a15"), bytes.fromhex("00000002")
    serial[0x100:0x104] = struct.pack("<I", 1 | 1 << 16 | 0x140 << 20)
    serial[0x140:0x144] = struct.pack("<I", 3 | 1 << 16)
    serial[0x144:0x14C] = DSN
    put(root, "/sys/bus/pci/devices/0000:00:19.0/config", bytes(serial))
    log = (dumped / "dmesg.txt").read_text().replace(banner, (root / "proc/version").read_text().strip())
    put(root, "/var/log/dmesg", log.partition("Run /init")[0].rpartition("\n")[0] + "\n" + LOG_TAIL)
    put(
        root,
        "/proc/cpuinfo",
        "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nstepping\t: 7\n",
    )
    _cpu_devices(root, dumped)
    return root


def _cpu_devices(root: Path, dumped: Path) -> None:
    # A file in which a leaf stands where the device has it: 16 bytes each from the address that is its number.
    for cpu, dump in enumerate(spec_from_capture(dumped).cpus.cpuid):
        place = root / f"dev/cpu/{cpu}"
        place.mkdir(parents=True)
        with (place / "cpuid").open("wb") as file:
            for leaf, sub, *registers in dump.rows:
                file.seek((sub << 32) + (leaf & 0xFFFF_0000) + 16 * (leaf & 0xFFFF))
                file.write(struct.pack("<4I", *registers))
        put(place, "msr", bytes(0x1B) + struct.pack("<Q", 0xFEE00900))


def run(shell: list[str], root: Path, *words: str) -> tuple[Path, str]:
    done = subprocess.run(
        [*shell, str(SCRIPT), *words, str(root.parent / "box.tar")],
        env={"PATH": "/usr/bin:/bin", "MINIKERN_ROOT": str(root)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()), done.stderr


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as found:
        return {item.name: found.extractfile(item).read() for item in found if item.isreg()}  # type: ignore[union-attr]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_nobody_is_named(shell: list[str], root: Path) -> None:
    files = members(run(shell, root)[0])
    for name, data in files.items():
        for secret in SECRETS:
            assert secret.encode() not in data and secret.upper().encode() not in data, (name, secret)
        assert DSN not in data, name
    assert (
        files["kernel-cmdline.txt"].startswith(b"console=") or b"root=UUID=00000000-0000" in files["kernel-cmdline.txt"]
    )
    assert b"secret of a program" not in files["dmesg.txt"]
    config = files["pci/config/0000:00:19.0.bin"]
    assert config[0x140:0x144] == struct.pack("<I", 3 | 1 << 16) and config[0x144:0x14C] == bytes(8)
    assert members(run(shell, root)[0]) == files


@pytest.mark.parametrize("shell", SHELLS[:1], ids=lambda shell: shell[0])
def test_full_keeps_them(shell: list[str], root: Path) -> None:
    files = members(run(shell, root, "--full")[0])
    assert all(secret.encode() in b"".join(files.values()) for secret in (UUID, MAC, SERIAL, HOST, USER))


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_the_archive_is_the_machine(shell: list[str], root: Path, dumped: Path) -> None:
    spec = load_machine(str(run(shell, root)[0]))
    whole = spec_from_capture(dumped)
    assert spec.name == "box"
    assert spec.e820 == whole.e820 and spec.cpus.apic_ids == whole.cpus.apic_ids
    rows = [{row[:2]: row[2:] for row in dump.rows} for dump in (spec.cpus.cpuid[0], whole.cpus.cpuid[0])]
    assert all(rows[0][at] == rows[1][at] for at in [(0, 0), (1, 0), (7, 0), (0xB, 0), (0xB, 1), (0x8000_0001, 0)])
    assert spec.cpus.msrs[0]["0000001b"] == 0xFEE00900
    assert {one.bdf for one in spec.pci.functions} > {one.bdf for one in whole.pci.functions}
    lines = [line.text for line in boot(spec, append="acpi=off").kernel.log.lines]
    assert [line for line in lines if line.startswith("BIOS-e820")]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_what_cannot_be_read_is_said(shell: list[str], root: Path) -> None:
    shutil.rmtree(root / "dev")
    archive, said = run(shell, root)
    assert "not read: /dev/cpu/*/cpuid (modprobe cpuid)" in said
    spec = load_machine(str(archive))
    assert any(note.startswith("missing: /dev/cpu/*/msr") for note in spec.notes)
    signature = next(row[2] for row in spec.cpus.cpuid[0].rows if row[:2] == (1, 0))
    assert signature >> 4 & 0xFFFF == 0x5065  # family 6, model 85 of /proc/cpuinfo
    assert spec.cpus.count == 2  # and one more of the MADT


def test_an_ordinary_users_archive_is_read_by_its_log(root: Path) -> None:
    shutil.rmtree(root / "sys/firmware/acpi")
    shutil.rmtree(root / "dev")
    archive, said = run(SHELLS[0], root)
    assert "not read: /sys/firmware/acpi/tables" in said
    spec = load_machine(str(archive))
    assert spec.cpus.count == 2 and "missing: /sys/firmware/acpi/tables" in spec.notes
    assert any(note.startswith("missing: the ACPI tables, so that") for note in spec.notes)


def test_wrong_words_are_refused() -> None:
    done = subprocess.run([*SHELLS[0], str(SCRIPT), "--all"], capture_output=True, text=True)
    assert done.returncode == 2 and "unknown option --all" in done.stderr
