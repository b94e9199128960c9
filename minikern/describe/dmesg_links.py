"""Widths and speeds of PCI Express links, so that the kernel complains of the same ones again.

A line names a device, what it could do, and the link that holds it down; of links no line names nothing is known, and
they are given what keeps them silent.
"""

from __future__ import annotations

from hw.pci.spec import Address, LinkSpec
from minikern.describe.dmesg_pci_lines import Seen


def links_of(seen: dict[Address, Seen]) -> dict[Address, LinkSpec]:
    """Links of the devices that lines name, of the ports that limit them, and of what else lies behind such ports."""
    above = {(one.address.segment, one.buses[0]): one for one in seen.values() if one.buses}
    found: dict[Address, LinkSpec] = {}
    for one in seen.values():
        if one.link is not None and one.link.where in seen:
            limit = one.link
            found[limit.where] = LinkSpec(limit.speed, limit.width, limit.speed, limit.width)
    ports = dict(found)
    for address, one in seen.items():
        if address in ports:
            continue
        path = _path(above, address)
        if one.link is not None:
            own = ports.get(path[0]) if path else None
            best = (one.link.max_speed, one.link.max_width)
            found[address] = LinkSpec(*best, own.speed, own.width) if own else LinkSpec(*best, *best)
        elif limits := [ports[port] for port in path if port in ports]:
            found[address] = min(limits, key=lambda link: (link.speed, link.width))
    return found


def _path(above: dict[tuple[int, int], Seen], address: Address) -> list[Address]:
    """The bridges above a function, the nearest first."""
    path: list[Address] = []
    here = above.get((address.segment, address.bus))
    while here is not None and here.address not in path:
        path.append(here.address)
        here = above.get((here.address.segment, here.address.bus))
    return path
