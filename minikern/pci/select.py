"""``pci=probe_only=``: set up only the functions a boot needs.

The list is made of Linux's device specifications, separated by semicolons: ``[<domain>:]<bus>:<dev>.<func>`` or
``pci:<vendor>:<device>``. Upstream has no such option; the talk proposes one.
Source: Documentation/admin-guide/kernel-parameters.txt @ v6.12, "pci="; the talk, "PCI device probe skipping"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.state.pci_select import ProbeList

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def probe_list(k: Kernel) -> ProbeList:
    """The list the command line gives; a specification it can not read is logged and left out."""
    given = k.pci.options.probe_only
    specs = [spec for value in given for spec in value.split(";") if spec]
    found = ProbeList(specs if given else None)
    for spec in found.bad:
        k.printk(f"PCI: Can't parse probe_only parameter: {spec}")
    return found
