"""The direct mapping of all RAM, top down, with the page-table pages it takes.

Source: arch/x86/mm/init.c:init_mem_mapping() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.units import PAGE_SIZE
from minikern.core.moduleparam import Parameter, early_param
from minikern.state.direct_map import DirectMap, MapRange

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

PMD_SIZE = 2 << 20
PUD_SIZE = 1 << 30
ISA_END = 0x100000
P4D_SIZE = 1 << 39
PGD_5LEVEL_SIZE = 1 << 48
PGT_BUF_FACTOR = 4  # tables set aside in brk for each level; Source: arch/x86/mm/init.c:INIT_PGD_PAGE_COUNT
STEP_SHIFT = 8  # each pass maps 2^8 times more than the one before; Source: get_new_step_size()


def direct_gbpages(k: Kernel) -> bool:
    """True if 1 GiB pages are to map memory: the CPU has them and the last of two words is not against it.

    Source: arch/x86/mm/init.c:parse_direct_gbpages_on(), parse_direct_gbpages_off(), probe_page_size_mask() @ v6.12
    """
    has = bool(k.machine.boot_cpu.cpuid(0x80000001).edx >> 26 & 1)
    words = [name for name, _ in k.cmdline.args if name in ("gbpages", "nogbpages")]
    return has and words[-1:] != ["nogbpages"]


def init_mem_mapping(k: Kernel, gbpages: bool) -> DirectMap:
    """Map the first MiB, then all RAM from its top down; tables come from brk or from memory just mapped."""
    image = k.release.image
    pages = PGT_BUF_FACTOR * (4 if k.config.enabled("CONFIG_X86_5LEVEL") else 3)
    buf = (image.brk_start, image.brk_start + pages * PAGE_SIZE)
    state = DirectMap(gbpages, buf, k.pgtable_l5_enabled(), pages)
    end = k.totals.max_pfn << 12
    _init_memory_mapping(k, state, 0, ISA_END, True)
    if k.memblock.bottom_up:
        # Tables are to lie above the kernel, so what is there is mapped first.
        kernel_end = image.end
        _memory_map_bottom_up(k, state, kernel_end, end)
        _memory_map_bottom_up(k, state, ISA_END, kernel_end)
    else:
        _memory_map_top_down(k, state, ISA_END, end)
    k.charge("page_table_page", len(state.tables))
    return state


def _memory_map_top_down(k: Kernel, state: DirectMap, map_start: int, map_end: int) -> None:
    # A 2 MiB block of RAM near the end tells where real memory ends.
    probe = k.memblock.phys_alloc_range(PMD_SIZE, PMD_SIZE, map_start, map_end)
    if probe is not None:
        k.memblock.phys_free(probe, PMD_SIZE)
        real_end = probe + PMD_SIZE
    else:
        real_end = max(map_start, map_end // PMD_SIZE * PMD_SIZE)
    step, mapped, last = PMD_SIZE, 0, real_end
    state.max_mapped, state.min_mapped = 0, real_end
    while last > map_start:
        start = max((last - 1) // step * step, map_start) if last > step else map_start
        mapped += _init_range(k, state, start, last)
        last = state.min_mapped = start
        if mapped >= step:
            step <<= STEP_SHIFT
    if real_end < map_end:
        _init_range(k, state, real_end, map_end)


def _memory_map_bottom_up(k: Kernel, state: DirectMap, map_start: int, map_end: int) -> None:
    # Source: arch/x86/mm/init.c:memory_map_bottom_up() @ v6.12
    step, mapped, start = PMD_SIZE, 0, map_start
    state.min_mapped = start
    while start < map_end:
        following = map_end
        if map_end - start > step:
            following = min((start // step + 1) * step, map_end)
        mapped += _init_range(k, state, start, following)
        start = following
        if mapped >= step:
            step <<= STEP_SHIFT


def _init_range(k: Kernel, state: DirectMap, start: int, end: int) -> int:
    mapped = 0
    for region in list(k.memblock.memory_regions()):
        low, high = max(region.base, start), min(region.end, end)
        if low >= high:
            continue
        # Tables must not come from the buffer while the memory that holds it is being mapped.
        can_use_brk = max(low, state.pgt_buf[1] - state.brk_left * PAGE_SIZE) >= min(high, state.pgt_buf[1])
        _init_memory_mapping(k, state, low, high, can_use_brk)
        mapped += high - low
    return mapped


def _init_memory_mapping(k: Kernel, state: DirectMap, start: int, end: int, can_use_brk: bool) -> None:
    for part in split_mem_range(k, start, end, state.gbpages):
        _map_part(k, state, part, can_use_brk)
        state.max_mapped = max(state.max_mapped, part.end)
    state.mapped.append((start, end))


def _map_part(k: Kernel, state: DirectMap, part: MapRange, can_use_brk: bool) -> None:
    levels = [(5, PGD_5LEVEL_SIZE)] if state.five_level else []
    levels.append((4, P4D_SIZE))
    if part.page < PUD_SIZE:
        levels.append((3, PUD_SIZE))
    if part.page < PMD_SIZE:
        levels.append((2, PMD_SIZE))
    for level, covers in levels:
        for index in range(part.start // covers, -(-part.end // covers)):
            if (level, index) not in state.tables:
                state.tables.add((level, index))
                _alloc_low_page(k, state, can_use_brk)


def _alloc_low_page(k: Kernel, state: DirectMap, can_use_brk: bool) -> None:
    if can_use_brk and state.brk_left:
        state.brk_left -= 1
        return
    low, high = state.min_mapped, state.max_mapped
    if k.memblock.phys_alloc_range(PAGE_SIZE, PAGE_SIZE, low, high) is None and state.brk_left:
        state.brk_left -= 1
        return
    state.allocated += 1


def split_mem_range(k: Kernel, start: int, end: int, gbpages: bool) -> list[MapRange]:
    """Cut [start, end) into runs of the largest page size that fits, growing sizes where the neighbourhood is RAM.

    Source: arch/x86/mm/init.c:split_mem_range(), adjust_range_page_size_mask() @ v6.12
    """
    ranges: list[MapRange] = []

    def save(low: int, high: int, page: int) -> None:
        if low < high:
            ranges.append(MapRange(low, high, page))

    head = min(-(-start // PMD_SIZE) * PMD_SIZE if start else PMD_SIZE, end // PAGE_SIZE * PAGE_SIZE)
    if start == 0:
        head = min(PMD_SIZE, end)
    save(start, head, PAGE_SIZE)
    pos = max(head, start)
    top = end // PMD_SIZE * PMD_SIZE
    first_gb = min(-(-pos // PUD_SIZE) * PUD_SIZE, top)
    save(pos, first_gb, PMD_SIZE)
    pos = max(pos, first_gb)
    last_gb = end // PUD_SIZE * PUD_SIZE
    save(pos, last_gb, PUD_SIZE if gbpages else PMD_SIZE)
    pos = max(pos, last_gb)
    save(pos, top, PMD_SIZE)
    save(max(pos, top), end, PAGE_SIZE)
    return [_adjusted(k, part, gbpages) for part in ranges]


def _adjusted(k: Kernel, part: MapRange, gbpages: bool) -> MapRange:
    sizes = (PMD_SIZE, PUD_SIZE) if gbpages else (PMD_SIZE,)
    page = part.page
    for size in sizes:
        low, high = part.start // size * size, -(-part.end // size) * size
        if page < size and any(r.base <= low and high <= r.end for r in k.memblock.memory_regions()):
            page = size
    return part._replace(page=page)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("gbpages", read_by=direct_gbpages),
    early_param("nogbpages", read_by=direct_gbpages),
)
