"""How much of this computer's memory a boot needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from minikern.host import jit

BOOT = """
from pathlib import Path
from minikern.describe.presets import load_machine
from minikern.core.variant import load_variant
from minikern.core.kernel import BootOptions
from minikern.lab.run import boot
from minikern.verify.page_check import check_memmap

done = boot(load_machine("lpc2023"), load_variant("hvo-skip"), options=BootOptions(vmemmap="full"))
status = Path("/proc/self/status").read_text()  # ru_maxrss would carry the parent's peak over
peak = int(status.split("VmHWM:")[1].split()[0])
result = check_memmap(done.kernel)
print(peak // 1024, result.ok, result.without["memory map given back"])
"""


@pytest.mark.big
@pytest.mark.skipif(jit.DISABLED or sys.platform != "linux", reason="compiled code, and Linux's /proc")
def test_500_folded_gigantic_pages_need_less_than_400_mib() -> None:
    done = subprocess.run([sys.executable, "-c", BOOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak, right, given_back = done.stdout.split()
    assert int(peak) < 400  # 16 MiB of page tables, about 20 of an ACPI namespace as large as such a machine has
    assert (right, int(given_back)) == ("True", 500 * (262144 - 64))
