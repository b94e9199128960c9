"""systemd-analyze's text and JSON, and the boot-time SIG's file that holds it beside a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.errors import InputError
from hw.spec import CpuSpec
from minikern.describe.beside import Beside, lay_over
from minikern.describe.case import Case
from minikern.describe.grab_boot_data import sections
from minikern.describe.presets import load_machine
from minikern.describe.startup import Startup, parse_startup
from tests.describe.test_dmesg_iommu import HEAD

UEFI = """\
Startup finished in 5.153s (firmware) + 2.103s (loader) + 1.204s (kernel) + 3.5s (initrd) + 1min 9.999s (userspace) = \
1min 21.959s
graphical.target reached after 1min 9.9s in userspace.
"""
GRABBED = """\
=== Machine Info ==============================
== UPTIME ==
 10:00:01 up 1 min

== GRAB-BOOT-DATA INFO ==
GBD_VERSION="1.5"

== Kernel Info ==
KERNEL_CMDLINE="quiet initcall_debug"

== CONFIG ==
CONFIG_HZ=300
# CONFIG_NUMA is not set
CONFIG_NR_CPUS=64

== SYSTEMD INFO ==
Startup finished in 890ms (kernel) + 3.987s (userspace) = 4.877s
-----
1.5s snapd.service
== KERNEL MESSAGES ==
{log}
"""


def stamped(text: str) -> str:
    return "".join(f"[    0.{at:06d}] {line}\n" for at, line in enumerate(text.splitlines()))


HOURS = "x\nStartup finished in 850us (kernel) + 1h 2min 3s (userspace) = 1h 2min 3s"
UNITS = '[{"name":"-.mount","activated":1510,"activating":0},{"name":"b.service","activating":2100123}]'


@pytest.mark.parametrize(
    ("text", "startup"),
    [
        (UEFI, Startup(5153, 2103, 1204, 3500, 69999, 81959)),
        ("Startup finished in 2.4s (kernel) + 15s (userspace) = 17.4s", Startup(None, None, 2400, None, 15000, 17400)),
        ("Startup finished in 1min 16.528s (kernel)", Startup(kernel_ms=76528)),
        (HOURS, Startup(None, None, 0.85, None, 3723000, 3723000)),
        (UNITS, Startup(first_unit_ms=1.51)),
    ],
)
def test_what_systemd_tells(text: str, startup: Startup) -> None:
    assert parse_startup(text) == startup


@pytest.mark.parametrize(
    "text",
    [
        "", "Bootup is not yet finished (org.freedesktop.systemd1.Manager.FinishTimestampMonotonic=0).",
        "Startup finished in 389ms", "Startup finished in 3.9s (userspace) = 3.9s",
        "Startup finished in x (kernel) = 3s", "Startup finished in 99999999999s (kernel)",
        "[]", "{}", '[{"name":"a","activating":"1"}]', "[" * 5000, '[{"unit":"a.service","time":5}]',
        "Startup finished in 999999999d (kernel)",
    ],
)  # fmt: skip
def test_what_tells_nothing_of_the_kernel(text: str) -> None:
    assert parse_startup(text) is None


def test_a_file_beside_a_machine(tmp_path: Path) -> None:
    path = tmp_path / "analyze.txt"
    path.write_text(UEFI)
    spec = Case("a machine", CpuSpec(1))
    lay_over(spec, Beside(systemd=str(path)))
    assert spec.startup is not None and dict(spec.startup.parts())["firmware"] == 5153
    assert "firmware 5153 + loader 2103 + kernel 1204 + initrd 3500 + userspace 69999 = 81959 ms" in spec.notes[-1]
    path.write_text("no such thing")
    with pytest.raises(InputError, match="systemd-analyze"):
        lay_over(spec, Beside(systemd=str(path)))


def test_what_grab_boot_data_wrote_is_a_machine(tmp_path: Path) -> None:
    path = tmp_path / "boot-data-lab-machine-241107-012610.txt"
    path.write_text(GRABBED.format(log=stamped(HEAD.format(table="BGRT"))))
    spec = load_machine(str(path))
    assert spec.cpus.count == load_machine(str(plain(tmp_path))).cpus.count
    assert spec.build is not None
    assert (spec.build.config["CONFIG_HZ"], spec.build.config["CONFIG_NR_CPUS"]) == (300, 64)
    assert spec.startup == Startup(kernel_ms=890, userspace_ms=3987, total_ms=4877)


def plain(folder: Path) -> Path:
    path = folder / "dmesg.txt"
    path.write_text(stamped(HEAD.format(table="BGRT")))
    return path


def test_sections_end_where_the_next_begins() -> None:
    found = sections(GRABBED.format(log="a\nb").splitlines())
    assert found["KERNEL MESSAGES"] == ["a", "b"] and found["UPTIME"] == [" 10:00:01 up 1 min", ""]
    assert sections(["== CONFIG ==", "CONFIG_HZ=300"]) == {}


def test_systemds_text_alone_is_no_machine(tmp_path: Path) -> None:
    path = tmp_path / "analyze.txt"
    path.write_text(UEFI)
    with pytest.raises(InputError, match="--systemd"):
        load_machine(str(path))
