"""A real kernel in QEMU runs the capture script; what it captured is booted and held against the kernel's own log.

    MINIKERN_QEMU_KERNEL=/boot/vmlinuz-6.1.0-amd64 pytest tests/describe/test_capture_qemu.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.report.dmesg import format_dmesg
from tests.support import SHARED, class_lines

SCRIPT = Path(__file__).parents[2] / "minikern/describe/capture.sh"
QEMU, BUSYBOX = shutil.which("qemu-system-x86_64"), shutil.which("busybox")
KERNEL = Path(os.environ.get("MINIKERN_QEMU_KERNEL", "/nonexistent"))
PATIENCE_S = 300
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
sh /capture.sh /tmp/capture.tar > /dev/ttyS0 2>&1
stty -F /dev/ttyS1 raw
cat /tmp/capture.tar > /dev/ttyS1
poweroff -f
"""
# Lists of CPUs are cut by what a slow emulator makes the kernel say; that of SMP is looked at by its last lines.
CLASSES = ("e820", "numa", "zones", "zonelists", "nosave", "acpi-tables", "madt", "memory", "aml", "pci-host", "pci")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not QEMU, reason="no qemu-system-x86_64"),
    pytest.mark.skipif(not BUSYBOX, reason="no busybox to make an initramfs of"),
    pytest.mark.skipif(not KERNEL.is_file(), reason="MINIKERN_QEMU_KERNEL names no kernel"),
    pytest.mark.skipif(not SHARED.is_dir(), reason="no log comparison beside the checkout"),
]


def cpio(files: dict[str, tuple[int, bytes]]) -> bytes:
    """An archive of (mode, bytes). Source: Documentation/driver-api/early-userspace/buffer-format.rst"""
    out = b""
    for number, (name, (mode, data)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qemu")
    assert QEMU and BUSYBOX
    files = dict.fromkeys(("bin", "proc", "sys", "dev", "tmp"), (0o40755, b""))
    files |= {
        "bin/busybox": (0o100755, Path(BUSYBOX).read_bytes()),
        "capture.sh": (0o100644, SCRIPT.read_bytes()),
        "init": (0o100755, INIT.encode()),
    }
    (folder / "initrd").write_bytes(cpio(files))
    memory = [f"memory-backend-ram,id=m{node},size=256M" for node in range(2)]
    nodes = [f"node,nodeid={node},cpus={2 * node}-{2 * node + 1},memdev=m{node}" for node in range(2)]
    command = [
        QEMU, "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "4,sockets=2,cores=2", "-m", "512M",
        "-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot", "-kernel", str(KERNEL),
        "-initrd", str(folder / "initrd"), "-append", "console=ttyS0 panic=-1 nokaslr",
        "-serial", f"file:{folder / 'console.txt'}", "-serial", f"file:{folder / 'capture.tar'}",
    ]  # fmt: skip
    for kind, values in (("-object", memory), ("-numa", nodes)):
        command += [word for value in values for word in (kind, value)]
    subprocess.run(command, check=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL)
    return folder / "capture.tar"


def test_a_captured_machine_boots_as_it_did(captured: Path, tmp_path: Path) -> None:
    with tarfile.open(captured) as archive:
        log = archive.extractfile("dmesg.txt")
        assert log is not None
        real = log.read().decode(errors="replace")
    emulated = format_dmesg(boot(load_machine(str(captured))).kernel)
    for kind in CLASSES:
        assert class_lines(emulated, kind, tmp_path) == class_lines(real, kind, tmp_path), kind
    for text in ("smp: Brought up 2 nodes, 4 CPUs", "smpboot: Max logical packages: 2"):
        assert text in emulated and text in real
