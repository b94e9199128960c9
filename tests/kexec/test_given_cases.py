"""Small inputs that went wrong once, as they were given: what a case's page says is right holds.

The pages stand beside the checkout in ../shared/cases/pci-kexec; what they say is read from them.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from minikern.cli import main
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.support import CAPTURES, SHARED, case_page, texts

CASES = SHARED / "cases/pci-kexec"

page = partial(case_page, CASES)
pytestmark = pytest.mark.oracle


def told(case: str, pattern: str) -> str:
    found = re.search(pattern, page(case))
    assert found is not None, f"{case}: its page has changed: nothing fits {pattern!r}"
    return found[1]


def kexec(*words: str) -> Result:
    return CliRunner().invoke(main, ["kexec", "tiny", *words])


def test_a_file_of_3_gib_is_refused_before_it_is_read(tmp_path: Path) -> None:
    size = int(told("kexec-3g", r"truncate -s (\d+)G")) << 30
    path = tmp_path / "s"
    with path.open("wb") as file:
        file.truncate(size)
    done = kexec("--kernel", str(path))
    assert done.exit_code == 2 and f"{size} bytes: expected at most" in done.stderr
    assert not done.stdout, "nothing was booted for it"


@pytest.mark.parametrize("option", ["--kernel", "--initrd"])
def test_a_pipe_is_refused_at_once(tmp_path: Path, option: str) -> None:
    assert option == "--kernel" or option in told("kexec-fifo", r"same with (--\w+)")
    pipe, kernel = tmp_path / "f", tmp_path / "k"
    os.mkfifo(pipe)
    kernel.write_bytes(b"MZ")
    words = ["--kernel", str(pipe)] if option == "--kernel" else ["--kernel", str(kernel), option, str(pipe)]
    done = kexec(*words)
    assert done.exit_code == 2 and not done.stdout
    if option == "--kernel":
        assert "expected a file, found a pipe" in done.stderr


def test_debian_builds_no_handover_and_a_kernel_that_does_takes_the_word(tmp_path: Path) -> None:
    line = told("kho-on-7.2", r"'(Unknown kernel command line parameters [^']+)'")
    spec = load_machine("lpc2023")
    assert line in texts(boot(spec, release="debian-7.2", append="kho=on"))
    option = told("kho-on-7.2", r"\((CONFIG_\w+)\)")
    config = tmp_path / "config"
    config.write_text(f"{option}=y\nCONFIG_CMA=y\n")
    words = ["boot", "tiny", "--memory", "1G", "--kernel", "debian-7.2", "--config", str(config), "--append", "kho=on"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and "kho=on" in done.stdout and line not in done.stdout


def test_a_capture_without_a_log_boots_on_the_tables_it_holds() -> None:
    cpus = told("capture-without-dmesg", r"machine has (\d+)\)")
    folder = CASES / "capture-without-dmesg/folder"
    done = CliRunner().invoke(main, ["boot", str(folder)])
    assert done.exit_code == 0
    assert f"smpboot: Allowing {cpus} CPUs" in done.stdout and "ACPI: Interpreter enabled" in done.stdout
    held = {path.stem[:4] for path in (folder / "acpi").glob("*.dat")}
    named = set(re.findall(r"ACPI: (\w{4}) 0x", done.stdout))
    assert held <= named
    assert "places of" in done.stderr and "ACPI tables" in done.stderr, "what the log would have told is said"
    with_log = CAPTURES / told("capture-without-dmesg", r"\((\S+) without dmesg\.txt")
    if with_log.is_dir():
        memory = [line for line in texts(boot(load_machine(str(with_log)))) if line.startswith("  node   0: [mem")]
        assert memory and all(line in done.stdout for line in memory)
