"""A host's kernel replaced under guests that have memory: kept by Kexec HandOver, on a DAX range, or written to a disk.

The host boots, the guests get their memory in its physical memory, the next kernel is loaded and started, and finds
them there. Everything that is waited for is counted work; the silence of each guest follows from processes over it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from hw.errors import InputError
from hw.units import GIB, MIB, NS_PER_MS, PAGE_SHIFT, PAGE_SIZE
from minikern.core.cost_table import machine_costs
from minikern.core.experiment import Experiment
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.variant import Variant
from minikern.describe.case import Case
from minikern.kexec.load import Kexec
from minikern.kexec.purgatory import mode_of
from minikern.kho import preserve
from minikern.kho.radix import encode_key
from minikern.lab.bands import doubts_of, time_band
from minikern.lab.downtime import percentile
from minikern.lab.guest_costs import Figure
from minikern.lab.guest_iommu import Domains, domain_pages
from minikern.lab.guest_state import xsave_bytes
from minikern.lab.guest_work import Update, Way, Work, cost_ns
from minikern.lab.kexec import reboot
from minikern.lab.run import boot
from minikern.lab.spent import Spent, spent_in
from minikern.lab.stand_in import stand_in_image, unpacked_bytes
from minikern.lab.vms import PAGES, ROOM, VmGroup, check_fit, guest_room, ram_bytes, ram_ranges, total_bytes
from minikern.mm.page.mmzone import MAX_PAGE_ORDER

HOST_LEFT_BYTES = 4 * GIB  # of a host whose guests lie on DAX, at the least
BLOCK_BYTES = PAGE_SIZE << MAX_PAGE_ORDER
MAX_TRACKED = 1 << 22  # blocks held one by one
KEYS_AT_ONCE = 1 << 22
MALFORMED = "Malformed early option"


class LiveUpdate(msgspec.Struct):
    """One way, on one kernel: each guest's silence, what the host did, and what it took of it."""

    variant: str
    way: str
    p50: Figure
    p99: Figure
    worst: Figure
    groups: list[Figure]  # the middle one of each kind of guest
    total_ms: float
    host_ms: dict[str, float]
    guest_ms: dict[str, float]  # of the guest that is silent longest
    iommu_domains: Domains  # of passed-through devices
    preserved_pages: int  # 4 KiB, of the guests
    walked_blocks: int  # by the next kernel, each time it walks
    initialised_alone: int  # struct pages that the boot CPU initialised, however
    scratch_bytes: int
    lost: list[str]
    warnings: list[str]  # the host's kernel's, of words on its line that it does not take
    lost_packets: int  # of all guests together, at the rate each of them sends
    price: str
    requires: str  # kernel and options, for the reader
    released: bool  # some Linux does it


@dataclass
class _Host:
    parts_ns: dict[str, int]
    spent: Spent
    walked: int
    alone: int
    scratch: int
    lost: list[str]
    warnings: list[str]


def way_of(variant: Variant) -> Way:
    """How memory gets over: by KHO where the variant has it, else on a DAX range."""
    return "kho" if variant.config.get("CONFIG_KEXEC_HANDOVER") else "dax"


def place_guests(k: Kernel, groups: Sequence[VmGroup], nodes: Sequence[int]) -> list[tuple[VmGroup, list[int]]]:
    """Give each guest memory of the host, node by node in turn; blocks as first pfns. InputError: it does not fit."""
    room = ROOM
    if scratch := sum(area.size for area in k.kho.scratch):
        room += f" beside scratch areas of {scratch / GIB:.1f} GiB (kho_scratch= makes them smaller)"
    check_fit(total_bytes(groups), k.page_alloc.nr_free_pages() * PAGE_SIZE, room)
    placed = []
    for index, vm in enumerate(group for group in groups for _ in range(group.count)):
        blocks: list[int] = []
        for _ in range(-(-vm.memory_bytes // BLOCK_BYTES)):
            pfn = k.page_alloc.alloc_pages(MAX_PAGE_ORDER, nodes[index % len(nodes)])
            if pfn is None:
                raise InputError(f"guest {index + 1}: no block of {BLOCK_BYTES // MIB} MiB is left on the host")
            blocks.append(pfn)
        placed.append((vm, blocks))
    return placed


def preserve_guests(k: Kernel, placed: Sequence[tuple[VmGroup, list[int]]]) -> None:
    """Mark every folio of every guest; not booked here, it is the guests' own part of the time.

    InputError: memory of a kind that cannot be handed over.
    """
    tracked = preserve.outgoing_of(k).tracked  # by kernels of kho-v1, which write their map at the end
    if tracked is not None and (folios := sum(vm.folios for vm, _ in placed)) > MAX_TRACKED:
        raise InputError(f"--vm: {folios} folios: expected at most {MAX_TRACKED} with {k.behaviour.kho_compatible}")
    for vm, blocks in placed:
        if vm.pages == "1G":
            raise InputError("--vm: pages=1G: expected 4K or 2M with Kexec HandOver: hugetlb's pages are not kept")
        order = (PAGES[vm.pages] >> PAGE_SHIFT).bit_length() - 1
        per_block = 1 << MAX_PAGE_ORDER - order
        heads = np.sort(np.array(blocks, dtype=np.uint64)) >> np.uint64(order)
        step = max(1, KEYS_AT_ONCE // per_block)
        for at in range(0, len(heads), step):
            numbers = (heads[at : at + step, None] + np.arange(per_block, dtype=np.uint64)).ravel()
            numbers = numbers[: vm.folios - at * per_block]
            if tracked is not None:
                tracked.setdefault(order, set()).update(map(int, numbers))
            else:
                preserve.tree_of(k).add_keys((numbers + np.uint64(encode_key(0, order))).astype(np.uint64))


def preserve_tables(k: Kernel, pages: int) -> None:
    """Preserve pages for the IOMMU's tables, before the host goes down; the guests' own part of it is counted apart."""
    preserve.preserve_blocks(k, [(preserve.get_zeroed_page(k) >> PAGE_SHIFT, 0) for _ in range(pages)])


def dax_words(spec: Case, groups: Sequence[VmGroup]) -> str:
    """``memmap=`` words that take the guests' memory from both kernels, from the top of RAM down."""
    left = -(-total_bytes(groups) // GIB) * GIB
    ram = sorted(ram_ranges(spec), reverse=True)
    check_fit(total_bytes(groups), ram_bytes(spec) - HOST_LEFT_BYTES, "RAM less 4 GiB for the host")
    words = []
    for low, high in ram:
        start, end = -(-max(low, 4 * GIB) // GIB) * GIB, high // GIB * GIB
        size = min(left, max(0, end - start))
        if size:
            words.append(f"memmap={size:#x}!{end - size:#x}")
            left -= size
    if left:
        raise InputError(f"{left // GIB} GiB of the guests find no whole GiB above 4 GiB: expected less memory, or KHO")
    return " ".join(words)


def _through_kexec(
    spec: Case, variant: Variant, groups: Sequence[VmGroup], way: Way, packer: str, release: str, append: str,
    options: BootOptions | None,
) -> _Host:  # fmt: skip
    words = " ".join(filter(None, (append, dax_words(spec, groups) if way == "dax" else "")))
    first = boot(spec, variant, release, words, options)
    k = first.kernel
    scratch = sum(area.size for area in k.kho.scratch)
    if way == "kho":
        if k.kho.outgoing is None:
            raise InputError(f"variant {variant.name}: Kexec HandOver is off: expected room for its scratch areas")
        placed = place_guests(k, groups, [node.nid for node in k.nodes])
        preserve_guests(k, placed)
        if domains_of(variant, way) == "kept":
            preserve_tables(k, sum(domain_pages(vm) for vm, _ in placed))
    elif way == "file":
        check_fit(total_bytes(groups), guest_room(k), ROOM)
    initrd = bytes(k.boot_params.ramdisk[1])
    plain = unpacked_bytes(k)
    image = Kexec(k).kexec_file_load(stand_in_image(k), initrd, k.cmdline.text)
    second = reboot(first, image, "hashlib")
    k2 = second.boot.kernel
    parts = second.downtime_ns()
    parts["decompression"] = round(plain * k2.unit_ns(f"decompress_byte_{packer}"))
    work, rest = _into(k, k2)
    digest = mode_of(k.experiment.purgatory_digest).kind
    work[digest] = work.get(digest, 0.0) + parts["purgatory"]
    work[f"decompress_byte_{packer}"] = float(parts["decompression"])
    alone = k2.ledger.count("reserved_page_init") + k2.ledger.count("struct_page_init")
    walked = k2.ledger.count("kho_radix_key")
    k2.release_memory()
    warnings = [line.text for line in k.log.lines if line.text.startswith(MALFORMED)]
    return _Host(parts, Spent(work, rest), walked, alone, scratch, second.lost, warnings)


def _into(before: Kernel, after: Kernel) -> tuple[dict[str, float], dict[str, float]]:
    """What the way from one kernel to the other, and the other's boot, went into: work and unexplained time."""
    booted = spent_in(after)
    work = dict(booted.work)
    for entry in before.ledger.entries():
        if entry.phase in ("shutdown", "relocation") and entry.cpu == 0:
            work[entry.kind] = work.get(entry.kind, 0.0) + entry.total_ns
    return work, dict(booted.rest)


PRICES: dict[Way, str] = {
    "kho": "a kernel with Kexec HandOver; scratch areas of {scratch:.1f} GiB; memory files only",
    "dax": "{memory:.0f} GiB set aside for guests at boot, whether there are any or not",
    "file": "{memory:.0f} GiB of disk, written and read",
}


def live_update(
    spec: Case, variant: Variant, groups: Sequence[VmGroup], way: Way, packer: str = "zstd", at_once: int = 8,
    release: str = "", append: str = "", options: BootOptions | None = None,
) -> LiveUpdate:  # fmt: skip
    """Update the host once. InputError: the guests do not fit, or cannot be kept that way."""
    if at_once < 1:
        raise InputError(f"--at-once {at_once}: expected at least 1")
    memory, domains = total_bytes(groups), domains_of(variant, way)
    host = _through_kexec(spec, variant, groups, way, packer, release, append, options)
    costs = machine_costs(spec.name, spec.costs)
    update = Update(groups, way, sum(host.parts_ns.values()), costs, at_once, domains, xsave_bytes(spec))
    silent = update.run()
    ordered = sorted(range(len(silent)), key=lambda index: silent[index])
    worst = ordered[-1]
    p50, p99, last = (_figure(spec, update, percentile(ordered, share), host.spent) for share in (50, 99, 100))
    parts = {**update.saving(worst), **update.restoring(worst)}
    return LiveUpdate(
        variant=variant.name,
        way=way,
        p50=p50,
        p99=p99,
        worst=last,
        groups=[_figure(spec, update, _middle(update, group), host.spent) for group in range(len(groups))],
        total_ms=round(update.total_ns / NS_PER_MS, 3),
        host_ms={name: round(ns / NS_PER_MS, 3) for name, ns in host.parts_ns.items()},
        guest_ms={name: round(sum(cost_ns(work, costs).values()) / NS_PER_MS, 3) for name, work in parts.items()},
        iommu_domains=domains,
        preserved_pages=memory // PAGE_SIZE if way == "kho" else 0,
        walked_blocks=host.walked,
        initialised_alone=host.alone,
        scratch_bytes=host.scratch,
        lost=host.lost,
        warnings=host.warnings,
        lost_packets=sum(ns // (1000 * vm.packet_us) for ns, vm in zip(silent, update.vms, strict=True)),
        price=PRICES[way].format(scratch=host.scratch / GIB, memory=memory / GIB),
        requires=variant.requires,
        released=variant.experiment == Experiment(),
    )


def domains_of(variant: Variant, way: Way) -> Domains:
    """What becomes of the IOMMU's tables: only what is handed over can be kept."""
    return variant.experiment.iommu_domains if way == "kho" else "rebuilt"


def _middle(update: Update, group: int) -> int:
    ordered = sorted(update.members(group), key=lambda index: update.silent[index])
    return percentile(ordered, 50)


def _figure(spec: Case, update: Update, index: int, host: Spent) -> Figure:
    """The silence of one guest, with the band of what the host and it itself did."""
    work = Counter(host.work)
    for part in (*update.saving(index).values(), *update.restoring(index).values(), Work(vmm_start=1)):
        work.update(cost_ns(part, update.costs))
    silent = update.silent[index]
    return Figure(round(silent / NS_PER_MS, 3), time_band(silent, Spent(work, host.rest), doubts_of(spec)))
