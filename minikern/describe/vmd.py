"""Domains behind volume management devices in dumps: which endpoint each belongs to.

Source: drivers/pci/controller/vmd.c:vmd_find_free_domain() @ v6.12: domains are numbered as endpoints are found
"""

from __future__ import annotations

import msgspec

from hw.pci.config import COMMON, ConfigSpace
from hw.pci.spec import BarSpec, PciFunctionSpec, PciSpec, RegisterSpec, VmdSpec

FIRST_DOMAIN, MIB = 0x1_0000, 1 << 20
ENDPOINTS = frozenset(
    f"8086:{device:04x}"
    for device in (0x201D, 0x28C0, 0x467F, 0x4C3D, 0xA77F, 0x7D0B, 0xAD0B, 0x9A0B, 0xB60B, 0xB06F)
)
BUS_STARTS = {0: 0, 0x80: 1, 0xE0: 2}
USUAL_BYTES = {0: 32 * MIB, 2: 32 * MIB, 4: MIB}  # of the three windows
CAPABILITIES, CONFIGURATION, LAST_BUS = 0x40, 0x44, 0xFF


def domains_of_vmd(spec: PciSpec) -> None:
    """Take the functions of such domains for what is behind the endpoints of ``spec``, in their order; the host bridges
    to them go. A domain without an endpoint stays as it is.
    """
    spec.vmd = []
    domains = sorted({one.address().segment for one in spec.functions} - set(range(FIRST_DOMAIN)))
    endpoints = sorted((one for one in spec.functions if _ids(one) in ENDPOINTS), key=lambda one: one.address())
    for domain, endpoint in zip(domains, endpoints, strict=False):
        starts = [one.first_bus for one in spec.host_bridges if one.segment == domain]
        first = min(starts, default=0)
        buses = [one.address().bus for one in spec.functions if one.address().segment == domain]
        fitted = _fitted(endpoint, first, max(buses))
        spec.functions[spec.functions.index(endpoint)] = fitted
        size = next((bar.size for bar in fitted.bars if bar.index == 0), USUAL_BYTES[0])
        last = min(first + size // MIB - 1, LAST_BUS)
        spec.vmd.append(VmdSpec(str(endpoint.address()), domain, first, last))
    behind = {one.domain for one in spec.vmd}
    spec.host_bridges = [one for one in spec.host_bridges if one.segment not in behind]


def _ids(function: PciFunctionSpec) -> str:
    if not function.raw:
        return function.id.lower()
    space = ConfigSpace(function.raw)
    return f"{space.get(COMMON, 'vendor'):04x}:{space.get(COMMON, 'device'):04x}"


def _fitted(endpoint: PciFunctionSpec, first: int, last: int) -> PciFunctionSpec:
    """The endpoint with windows as large as what is behind it needs, and where its buses begin."""
    needed = max(USUAL_BYTES[0], 1 << (last - first).bit_length() + 20)
    bars = []
    for bar in endpoint.bars:
        least = needed if bar.index == 0 else USUAL_BYTES.get(bar.index, bar.size)
        bars.append(msgspec.structs.replace(bar, size=max(bar.size, least)) if _grows(bar, least) else bar)
    fitted = msgspec.structs.replace(endpoint, bars=bars)
    if not fitted.raw and first in BUS_STARTS and first:
        setting = BUS_STARTS[first] << 8
        fitted.registers = [RegisterSpec(CAPABILITIES, 1), RegisterSpec(CONFIGURATION, setting)]
    return fitted


def _grows(bar: BarSpec, least: int) -> bool:
    return bar.size < least and not bar.address % least
