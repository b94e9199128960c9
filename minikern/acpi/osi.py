r"""\_OSI: what the kernel says it is, and how the command line changes that.

Source: drivers/acpi/osi.c, drivers/acpi/acpica/utosi.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.acpi.methods import MethodCode
from minikern.acpi.values import AmlError
from minikern.core.moduleparam import Parameter, setup_param
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.core.kernel import Kernel

TRUE = 0xFFFF_FFFF_FFFF_FFFF
VENDOR_STRINGS = (
    "Windows 2000", "Windows 2001", "Windows 2001 SP1", "Windows 2001.1", "Windows 2001 SP2", "Windows 2001.1 SP1",
    "Windows 2006", "Windows 2006.1", "Windows 2006 SP1", "Windows 2006 SP2", "Windows 2009", "Windows 2012",
    "Windows 2013", "Windows 2015", "Windows 2016", "Windows 2017", "Windows 2017.2", "Windows 2018",
    "Windows 2018.2", "Windows 2019", "Windows 2020", "Windows 2021", "Windows 2022",
)  # fmt: skip
_SINCE = {"Windows 2020": "20210930", "Windows 2021": "20220331", "Windows 2022": "20221020"}
FEATURE_STRINGS = ("Extended Address Space Descriptor",)
SCP_STRING = "3.0 _SCP Extensions"
MAKER_STRINGS = ("Linux-Dell-Video", "Linux-Lenovo-NV-HDMI-Audio", "Linux-HPI-Hybrid-Graphics")


class OsiStrings:
    """The strings answered with true; ``setup`` holds what the kernel adds or, by the command line, takes away."""

    def __init__(self, k: Kernel) -> None:
        revision = k.behaviour.acpi_core_revision
        self.vendors = {text for text in VENDOR_STRINGS if revision >= _SINCE.get(text, "")}
        self.features = set(FEATURE_STRINGS)
        self.setup = {"Module Device": True, "Processor Device": True, "Processor Aggregator Device": True}
        if k.behaviour.acpi_osi_scp:
            self.setup = {"Module Device": True, "Processor Device": True, SCP_STRING: True} | self.setup
        if k.behaviour.acpi_osi_makers:
            self.setup |= dict.fromkeys(MAKER_STRINGS, True)
        self.disabling = ""  # "vendors" or "all"
        self.method = True
        self.linux = False
        self.asked_for_linux = False
        for word in k.cmdline.getall("acpi_osi"):
            self._word(word.strip('"'))

    def _word(self, word: str) -> None:
        """One acpi_osi= word. Source: drivers/acpi/osi.c:acpi_osi_setup() @ v6.12"""
        if word == "":
            self.method = False
        elif word == "!":
            self.disabling = self.disabling or "vendors"
        elif word == "!*":
            self.disabling = "all"
            self.setup = dict.fromkeys(self.setup, False)
        elif word == "!!":
            self.disabling = ""
        else:
            self.setup[word.removeprefix("!")] = not word.startswith("!")
        if word in ("Linux", "!Linux"):
            self.linux = word == "Linux"

    def install(self, k: Kernel) -> None:
        """Take the words in and log them. Source: drivers/acpi/osi.c:acpi_osi_setup_late() @ v6.12"""
        if self.disabling:
            self.vendors.clear()
            groups = " and feature groups" if self.disabling == "all" else ""
            self.features = set() if groups else self.features
            k.printk(f"ACPI: Disabled all _OSI OS vendors{groups}")
        for text, wanted in self.setup.items():
            group = self.vendors if text in self.vendors else self.features
            if wanted and text not in group:
                group.add(text)
                k.printk(f"ACPI: Added _OSI({text})")
            elif not wanted and text in group:
                group.discard(text)
                k.printk(f"ACPI: Deleted _OSI({text})")

    def __call__(self, run: Interpreter, args: list[Any]) -> int:
        text = args[0]
        if not isinstance(text, str):
            raise AmlError("AE_TYPE", "_OSI needs a string")
        if text == "Linux" and not self.asked_for_linux:
            self.asked_for_linux = True
            what = "honored via cmdline" if self.linux else "ignored"
            run.k.printk(f"ACPI: [Firmware Bug]: BIOS _OSI(Linux) query {what}")
        return TRUE if text in self.vendors or text in self.features else 0


def install_osi(run: Interpreter) -> None:
    r"""Make the \_OSI method, unless the command line forbids it."""
    strings = run.k.acpi.osi or OsiStrings(run.k)
    if not strings.method:
        return
    root = run.namespace.root
    root.children["_OSI"] = Node("_OSI", root, Kind.METHOD, MethodCode(b"", 0, 0, 1, 8, builtin=strings))


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("acpi_osi=", read_by=OsiStrings),
)
