"""``crashkernel=``: memory kept for a second kernel that saves the first one's dump.

Source: kernel/crash_core.c, arch/x86/kernel/setup.c:reserve_crashkernel() @ v6.1; kernel/crash_reserve.c @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from minikern.core.cmdline import memparse
from minikern.core.moduleparam import Parameter, early_param
from minikern.core.printk import Level

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MIB = 1 << 20
CRASH_ALIGN = 16 << 20  # Source: arch/x86/include/asm/crash_reserve.h @ v6.12
CRASH_ADDR_LOW_MAX, CRASH_ADDR_HIGH_MAX = 1 << 32, 64 << 40  # same
FIXED_ALIGN = 1 << 20
LOW_MINIMUM, LOW_EXTRA = 256 << 20, 8 << 20  # Source: arch/x86/include/asm/crash_reserve.h:crash_low_size_default()
ULLONG_MAX = 2**64 - 1
MAX_RANGES = 64
RAM_ROUNDING = 128 << 20  # Source: kernel/crash_reserve.c:parse_crashkernel_mem() @ v6.12


@dataclass
class Request:
    """What the command line asks for, in bytes. ``low`` None: as much as bounce buffers need."""

    size: int
    base: int = 0
    high: bool = False
    low: int | None = None
    low_text: str | None = None  # where ``,low`` is read only once it matters


class _RejectedError(Exception):
    """The parameter is wrong; a line said why."""


def reserve_crashkernel(k: Kernel) -> None:
    """Reserve what ``crashkernel=`` asks for and log it in the release's words.

    Source: arch/x86/kernel/setup.c:arch_reserve_crashkernel() @ v6.12
    """
    try:
        request = parse_crashkernel(k)
    except _RejectedError:
        return
    if request is None or not request.size:
        return
    if k.behaviour.crashkernel_generic:
        _reserve_generic(k, request)
    else:
        _reserve_x86(k, request)


# the parameter


def parse_crashkernel(k: Kernel) -> Request | None:
    """The last ``crashkernel=`` of each form; the plain form wins over ``,high``. None when nothing is to be reserved.

    Source: kernel/crash_reserve.c:parse_crashkernel() @ v6.12
    """
    values = k.cmdline.getall("crashkernel")
    plain = [value for value in values if not value.endswith((",high", ",low", ",cma"))]
    high = [value for value in values if value.endswith(",high")]
    low = [value for value in values if value.endswith(",low")]
    generic = k.behaviour.crashkernel_generic
    low_text = low[-1] if low and not generic else None
    if plain:
        try:
            text = plain[-1]
            size, base = _ranges(k, text) if ":" in text else _simple(k, text)
        except _RejectedError:
            size = base = 0
        if size or generic:
            # As much as there is, or more, is refused without a word.
            fits = not generic or size < k.memblock.phys_mem_size()
            return Request(size, base, low_text=low_text) if fits else None
    if not high:
        return None
    size = _suffixed(k, high[-1], ",high")
    if not size:
        return None
    return Request(size, 0, True, _suffixed(k, low[-1], ",low") if low and generic else None, low_text)


def _warn(k: Kernel, text: str) -> _RejectedError:
    k.printk(text, Level.WARNING)
    return _RejectedError()


def _newer_prefix(k: Kernel, prefix: str) -> str:
    return prefix if k.behaviour.crashkernel_generic else ""


def _simple(k: Kernel, text: str) -> tuple[int, int]:
    size, rest = memparse(text)
    if rest == text:
        raise _warn(k, "crashkernel: memory value expected")
    if rest.startswith("@"):
        return size, memparse(rest[1:])[0]
    if rest:
        raise _warn(k, f"crashkernel: unrecognized char: {rest[0]}")
    return size, 0


def _suffixed(k: Kernel, text: str, suffix: str) -> int:
    size, rest = memparse(text)
    if rest == text:
        raise _warn(k, "crashkernel: memory value expected")
    if rest != suffix:
        # What follows the suffix is looked at only where the suffix is there.
        rest = rest.removeprefix(suffix)
        raise _warn(k, f"crashkernel: unrecognized char: {rest[:1]}")
    return size


def _ranges(k: Kernel, text: str) -> tuple[int, int]:
    """Size and base for this much memory from ``start-[end]:size[,...][@offset]``."""
    system_ram = k.memblock.phys_mem_size()
    if k.behaviour.crashkernel_rounds_ram:
        system_ram = -(-system_ram // RAM_ROUNDING) * RAM_ROUNDING  # firmware keeps some of it to itself
    size, rest = 0, text
    for _ in range(MAX_RANGES):
        start, end, found, rest = _one_range(k, rest, system_ram)
        if start <= system_ram < end:
            size = found
            break
        if not rest.startswith(","):
            break
        rest = rest[1:]
    if not size:
        k.printk("crashkernel size resulted in zero bytes")
        return 0, 0
    _, at, offset = rest.partition("@")
    if not at:
        return size, 0
    base, tail = memparse(offset)
    if tail == offset:
        # The newer prefix is misspelt in Linux.
        raise _warn(k, f"{_newer_prefix(k, 'crahskernel: ')}Memory value expected after '@'")
    return size, base


def _one_range(k: Kernel, text: str, system_ram: int) -> tuple[int, int, int, str]:
    start, rest = memparse(text)
    if rest == text:
        raise _warn(k, "crashkernel: Memory value expected")
    if not rest.startswith("-"):
        raise _warn(k, "crashkernel: '-' expected")
    rest = rest[1:]
    end = ULLONG_MAX
    if not rest.startswith(":"):
        end, tail = memparse(rest)
        if tail == rest:
            raise _warn(k, "crashkernel: Memory value expected")
        rest = tail
        if end <= start:
            raise _warn(k, "crashkernel: end <= start")
    if not rest.startswith(":"):
        raise _warn(k, "crashkernel: ':' expected")
    size, tail = memparse(rest[1:])
    if tail == rest[1:]:
        raise _warn(k, f"{_newer_prefix(k, 'crashkernel: ')}Memory value expected")
    if size >= system_ram:
        raise _warn(k, "crashkernel: invalid size")
    return start, end, size, tail


# the reservation


def default_low_size(k: Kernel) -> int:
    """Low memory kept for the bounce buffers of a kernel above 4 GiB."""
    return max(k.swiotlb.size_or_default() + LOW_EXTRA, LOW_MINIMUM)


def _reserve_x86(k: Kernel, request: Request) -> None:
    base, size, find = request.base, request.size, k.memblock.find_in_range
    found: int | None
    if base:
        found = find(base, base + size, size, FIXED_ALIGN)
        if found != base:
            k.printk("crashkernel reservation failed - memory is in use.")
            return
    else:
        found = None if request.high else find(CRASH_ALIGN, CRASH_ADDR_LOW_MAX, size, CRASH_ALIGN)
        if found is None:
            found = find(CRASH_ALIGN, CRASH_ADDR_HIGH_MAX, size, CRASH_ALIGN)
        if found is None:
            k.printk("crashkernel reservation failed - No suitable area found.")
            return
    k.memblock.reserve(found, size)
    if found >= CRASH_ADDR_LOW_MAX and not _reserve_low_x86(k, request):
        k.memblock.phys_free(found, size)
        return
    k.crashk.res = (found, size)
    total = k.memblock.phys_mem_size() >> 20
    k.printk(f"Reserving {size >> 20}MB of memory at {found >> 20}MB for crashkernel (System RAM: {total}MB)")


def _reserve_low_x86(k: Kernel, request: Request) -> bool:
    try:
        size = default_low_size(k) if request.low_text is None else _suffixed(k, request.low_text, ",low")
    except _RejectedError:
        size = default_low_size(k)
    if not size:
        return True
    base = k.memblock.phys_alloc_range(size, CRASH_ALIGN, 0, CRASH_ADDR_LOW_MAX)
    if base is None:
        k.printk(f"Cannot reserve {size >> 20}MB crashkernel low memory, please try smaller size.", Level.ERR)
        return False
    k.crashk.low_res = (base, size)
    limit = min(k.memblock.phys_mem_size(), CRASH_ADDR_LOW_MAX) >> 20
    where = f"{size >> 20}MB of low memory at {base >> 20}MB"
    k.printk(f"Reserving {where} for crashkernel (low RAM limit: {limit}MB)")
    return True


def _reserve_generic(k: Kernel, request: Request) -> None:
    # Source: kernel/crash_reserve.c:reserve_crashkernel_generic() @ v6.12
    size = request.size
    low = default_low_size(k) if request.high and request.low is None else request.low or 0
    below, above = (0, CRASH_ADDR_LOW_MAX), (CRASH_ADDR_LOW_MAX, CRASH_ADDR_HIGH_MAX)
    if request.base:
        places = [(request.base, request.base + size)]
    else:
        places = [above, below] if request.high else [below, above]
    found = None
    for start, end in places:
        found = k.memblock.phys_alloc_range(size, CRASH_ALIGN, start, end)
        if found is not None:
            break
    if found is None:
        text = "crashkernel reservation failed - memory is in use." if request.base else (
            f"cannot allocate crashkernel (size:{size:#x})"
        )  # fmt: skip
        k.printk(text, Level.WARNING)
        return
    if not request.high and not request.base and found >= CRASH_ADDR_LOW_MAX:
        low = default_low_size(k)  # what was asked for below 4 GiB went above
    if found >= CRASH_ADDR_LOW_MAX and low and not _reserve_low_generic(k, low):
        k.memblock.phys_free(found, size)
        return
    k.crashk.res = (found, size)
    k.printk(f"crashkernel reserved: {found:#018x} - {found + size:#018x} ({size >> 20} MB)")


def _reserve_low_generic(k: Kernel, size: int) -> bool:
    base = k.memblock.phys_alloc_range(size, CRASH_ALIGN, 0, CRASH_ADDR_LOW_MAX)
    if base is None:
        k.printk(f"cannot allocate crashkernel low memory (size:{size:#x}).", Level.ERR)
        return False
    k.crashk.low_res = (base, size)
    k.printk(f"crashkernel low memory reserved: {base:#010x} - {base + size:#010x} ({size >> 20} MB)")
    return True


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("crashkernel", read_by=parse_crashkernel),
)
