"""What one kernel does differently from another: every fork of the boot path as one typed field.

The values of a release follow from its version by the rows of ``forks.toml`` (see minikern.core.forks); a release file
or a variant may set some of them otherwise. The sentence under a field says what it means when true, or what it names.
"""

from __future__ import annotations

import ast
import inspect
from functools import lru_cache
from typing import Literal

import msgspec

ReserveFirstMib = Literal["never", "crashkernel", "always"]
Memoryless = Literal["late", "announced", "quiet"]
SmpScheme = Literal["serial-old", "split"]


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one kernel boots; complete, so that a call site needs no default."""

    # the order of start-up

    zonelists_before_cmdline: bool
    """Zonelists are built before the command line is logged, not by mm_core_init()."""
    arch_cpu_finalize_early: bool
    """The CPU is finalized, and alternatives patched, before fork_init() instead of after the VFS caches."""
    free_smp_locks: Literal["alternatives", "arch_initcall"]
    """When the list of lock prefixes is given back: as soon as alternatives are patched, or by an initcall."""
    zones_after_setup_arch: bool
    """Huge pages and zones are laid out by mm_core_init_early(), once setup_arch() is done."""
    arch_mm_preinit: bool
    """Bounce buffers are made before the zonelists, not by mem_init()."""
    memory_line: Literal["mem_init", "page_alloc_init_late"]
    """When the Memory line is logged: by mem_init(), or once deferred pages are there."""
    hugetlb_gather: Literal["hugetlb_init", "page_alloc_init_late"]
    """When gigantic pages are prepared: by the initcall, or once all struct pages are there."""

    # the memory map and what is kept of it

    e820_prefix: bool
    """All lines about the map begin with its name; later only those of debug level."""
    nosave_gaps: bool
    """Each gap between ranges of memory is kept from hibernation as one; before, each of its entries on its own."""
    nosave_prefix: Literal["PM: ", "PM: hibernation: "]
    """How lines about pages kept from hibernation begin."""
    e820_lines: Literal["types", "resources"]
    """How the map is logged: by e820 types, or in the terms of the resource tree, with its gaps."""
    e820_min_entries: int
    """Fewest entries for which the loader's map is believed."""
    e820_setup_data: bool
    """Nodes of setup_data are cut out of the map, which is then logged again."""
    e820_kexec_setup_data: bool
    """They are cut out of the map for the next kernel too."""
    last_pfn_acpi: bool
    """ACPI tables in memory count for the highest page."""
    efi_mmio_removed: bool
    """Large memory-mapped I/O ranges of EFI's map are taken out of the e820 map."""
    efi_unaccepted: bool
    """Pages with the table of unaccepted memory count as memory, and are kept."""
    reserve_first_mib: ReserveFirstMib
    """Whether the first MiB is kept whole: never, only with crashkernel=, always."""
    crashkernel_generic: bool
    """crashkernel= is parsed and reserved by the generic code, in its words."""
    crashkernel_rounds_ram: bool
    """The memory size that crashkernel= ranges are compared with is rounded up to 128 MiB."""
    cea_random: bool
    """CPU entry areas lie at random places."""

    # nodes

    memoryless: Memoryless
    """Nodes without memory: set up late and only if they have CPUs, with a line, or without one."""
    numa_warning_prefix: Literal["NUMA: ", ""]
    """How warnings about memory affinity begin."""
    numa_low: Literal["zero", "dram"]
    """Where affinity may begin and end: at zero and the last page, or where memory does."""
    numa_min_size: bool
    """A node of less than 4 MiB is left out."""
    numa_uncovered: Literal["e820", "coverage"]
    """How memory without affinity is judged and told: against the e820 map, or by what is bare."""
    numa_distance_line: bool
    """The table of distances is logged."""
    srat_cpu_lines: bool
    """Each CPU's affinity is logged."""
    fallback_lines: bool
    """Each node's fallback order is logged."""
    fallback_self: bool
    """A node without memory stands in its own fallback order."""

    swiotlb_areas: bool
    """Bounce buffers are split into areas."""

    # zones and page flags

    managed_estimate: bool
    """Managed pages are first estimated: present ones less the map and what is reserved below 16 MiB."""
    hash_scale: Literal["managed", "memblock"]
    """What hash tables are scaled by: estimated managed pages, or those free in memblock."""
    unavailable_lines: bool
    """Struct pages of holes are logged by zone."""
    defer_reset_first: bool
    """The count of early pages begins anew at each range, before the low zones are exempted."""
    sparse_buffer: bool
    """A node's memory map is taken from one buffer, not section by section."""
    pageblock_bits_wide: bool
    """A pageblock has eight bits for its type instead of four."""
    movable_wmark_capped: bool
    """Watermarks of ZONE_MOVABLE are capped like those of high memory."""
    lowmem_reserve_follows: bool
    """What low zones keep for themselves follows pages that are given back later."""
    zoneinfo_promo: bool
    """/proc/zoneinfo tells the watermark of promotions."""
    page_flag_reserved: int
    """Bit number of PG_reserved."""
    page_flag_head: int
    """Bit number of PG_head."""
    page_flag_count: int
    """Number of page flags."""
    page_type_buddy: int
    """What a free page holds in its type field."""
    page_type_hugetlb: int
    """What a huge page holds there; 0: huge pages have no type."""

    # tables

    log_buf_usage_line: bool
    """The log buffer's size is told together with that of its records."""
    vmalloc_huge_whole: bool
    """A large table is mapped by huge pages if it is as large as one, not if each node's share is."""
    hash_order: Literal["floor", "ceiling"]
    """How the order of a table is told whose size is no power of two."""
    hash_kinds: Literal["none", "plain", "hugepage"]
    """Whether a table's line says how it was allocated: not, by which allocator, or also by which pages."""
    tcp_listen_hash: bool
    """Listening sockets have a table by port and address whose size follows memory."""
    ip_idents_hash: bool
    """The table of IP identifiers follows memory."""
    table_perturb: bool
    """The table that picks source ports is allocated."""
    tcp_bind_bucket_bytes: int
    """What a port takes in TCP's table of bound ones; with two tables, in both."""
    mptcp_hash: bool
    """Multipath TCP has a table."""
    posixtimer_hash: bool
    """POSIX timers have a table of their own."""
    futex_node_tables: bool
    """Each node has a futex table."""
    dquot_line_short: bool
    """The line about quota chains leaves the order out."""
    udp_hash4: bool
    """UDP has room for connected sockets in its table."""
    udp_lite: bool
    """UDP-Lite has a table."""
    pcpu_chunk_bytes: int
    """Bytes of struct pcpu_chunk without its bitmap."""
    pcpu_depopulate: bool
    """Per-CPU chunks can be depopulated, which takes two more slots."""
    cpumask_bits: Literal["storage", "ids"]
    """How many bits of a mask of CPUs are looked at: all there are where masks are not allocated, or as many as ids."""
    smp_cpu_masks: int
    """Masks of CPUs that are allocated when NR_CPUS is large."""

    # deferred struct pages

    deferred_jobs: Literal["range", "zone"]
    """What threads divide among them: one free range after the other, or all of a node's last zone at once."""
    deferred_threads: Literal["one", "cpus"]
    """Who initialises a node's deferred pages: one kernel thread, or one for each CPU of the node."""
    deferred_line_pages: bool
    """The line about a node's deferred pages says how many they were."""

    # huge pages

    hugetlb_lines: Literal["registered", "vmemmap"]
    """How sizes are told: that they are registered, or also what of their memory map could be freed."""
    hugetlb_none_asked: bool
    """The time that allocation took is told even where no pages were asked for."""
    hugetlb_tail_skip: bool
    """Struct pages that HVO frees are never initialised."""
    hvo_batch: bool
    """Lists of huge pages are split, flushed, remapped, flushed and freed together."""
    hvo_fresh_head: bool
    """The page of the map that stays is a copy on a new frame."""
    hvo_head_required: bool
    """Without memory for that frame the huge page stays as it is."""
    hugetlb_parallel: bool
    """Huge pages are allocated and prepared by several threads."""
    hugetlb_alloc_threads: bool
    """One thread for four CPUs allocates; before, two a node."""
    hugetlb_prehvo: bool
    """Maps of gigantic pages are folded before they are made."""
    hugetlb_exact_node: bool
    """A gigantic page comes from the node it is asked of, or not at all."""
    vmemmap_tails: bool
    """Folded maps share a page of tails for each zone and size."""
    cma_line_node: bool
    """A CMA area's line names its node."""
    memblock_hugetlb_flag: bool
    """memblock knows gigantic pages by a flag of their own, and puts none into a scratch area."""
    hugetlb_cma_ranges: bool
    """hugetlb_cma= may be satisfied in pieces."""

    # CPUs

    smp_scheme: SmpScheme
    """How CPUs are brought up: one after another with the old state machine, or kicked first and then met."""
    delay_reuse: Literal["package", "cpu0"]
    """Whose delay calibration a CPU takes over: that of a CPU of its package, or CPU 0's."""
    pit_if_needed: bool
    """The PIT ticks only where nothing else can, and where neither it nor the HPET does, the timer is not checked."""
    hpet_stops_in_pc10: bool
    """The HPET is left alone where the package may sleep as deeply as state C10, in which it stands still."""
    tsc_warp_by_worker: bool
    """A failed TSC test is acted on by a worker, for its source is called by an interrupt."""
    tsc_counts: Literal["cpus", "packages"]
    """What makes another maker's TSCs distrusted: several possible CPUs, or several packages."""
    smpboot_prefix: Literal["", "smpboot: "]
    """How the line before the list of CPUs begins."""
    max_logical_packages: bool
    """The number of packages is guessed and logged after bring-up."""
    topology_parser: Literal["vendor", "common"]
    """Who takes APIC ids apart: each maker's code, or one for all."""
    possible_cpus: Literal["prefill_possible_map", "topology_init_possible_cpus"]
    """Which function decides how many CPUs there may ever be, with its lines."""
    real_bsp_check: bool
    """A boot CPU that is not the first listed one is told from a crash kernel's."""
    offline_lapics: Literal["always", "guest"]
    """Where disabled entries of an old MADT may come online: everywhere, or only in a guest."""
    apic_mismatch_line: Literal["APIC id", "APIC ID"]
    """Wording of the complaint about an APIC id that is not the firmware's."""
    mds_known: bool
    """Microarchitectural data sampling is known, and warned about where threads share a core."""
    taa_known: bool
    """So are aborts of transactions."""
    mmio_stale_known: bool
    """So is stale data of memory-mapped I/O."""
    logical_id_lines: bool
    """A package or die whose logical number differs from its own is logged."""
    apic_static_calls: bool
    """The APIC driver is called directly, which is logged."""
    apic_routing_lines: Literal["Setting", "APIC: Switched"]
    """Wording of the lines about the APIC driver."""
    apic_flat_limited: bool
    """More than eight CPUs need the physical flat driver."""
    extint_lines: Literal["masked", "Masked"]
    """Wording of the lines about each CPU's pin for the old interrupt controller."""
    ioapic_entry_lines: Literal["Set", "Preconfigured"]
    """Wording of the lines about routing entries: as they were written, or as they will be."""
    ioapic_lines: Literal["init", "Init"]
    """Wording of the lines about I/O APIC pins."""
    mptable_early: bool
    """The MP table's head is looked at before nodes are known."""
    mptable_after_acpi: bool
    """CPUs are counted from the MP table even where ACPI listed them."""
    hotplug_limit_line: bool
    """A processor object beyond the limit of CPUs is logged."""
    cpu_topo_nodes: bool
    """The topology lines count nodes."""
    microcode_core_lines: bool
    """The microcode's revision is logged once, by the core; before, by each driver."""
    microcode_ap_search: bool
    """A started CPU searches for an update if the boot CPU needed none."""
    microcode_zen_ids: bool
    """AMD patches for Zen carry the CPU's model in their number."""
    microcode_digests: bool
    """Only AMD patches with a known digest are loaded."""

    # ACPI

    acpi_core_revision: str
    """Version of ACPICA, as a date."""
    madt_lines: Literal["bare", "prefixed"]
    """Whether the line that ends the MADT's has ACPI's prefix; before, lines of debug level told more of it."""
    acpi_reserve_lines: bool
    """Memory of the tables is reserved, which is logged."""
    acpi_osi_scp: bool
    """"3.0 _SCP Extensions" is announced to the firmware."""
    acpi_osi_makers: bool
    """Strings that some makers' firmware asks for are announced."""
    acpi_ec_lines: Literal["boot", "first", "irq", "ports"]
    """How an embedded controller that works before the scan is told of; "first" and "irq" name the first one, too."""
    acpi_checksum_reports: Literal["correct", "difference"]
    """What a wrong checksum is said to have to be."""

    # initramfs

    initramfs_async: bool
    """The initial file system is unpacked by a worker, beside the drivers."""

    initcall_usecs: bool
    """What an initcall took is logged in microseconds, not in units of 1024 ns."""

    freed_image_parts: bool
    """The lines about given back parts of the kernel image say which part each was."""

    # PCI

    pci_ecam_lines: Literal["mmconfig", "ecam"]
    """What the memory-mapped configuration space is called."""
    pci_ecam_trusted: bool
    """Firmware of 2016 and later is believed without a look at the e820 map."""
    pci_device_type_text: bool
    """A device's line tells its PCI Express type."""
    pci_bridge_lines_early: bool
    """A bridge's windows are logged when the bridge itself is found."""
    pci_reg_lines: Literal["reg", "bar"]
    """What a resource is called: by its register, or by its name."""
    pci_link_speed: Literal["plain", "pcie"]
    """How the speed of a link is written: ``8 GT/s``, or ``8.0 GT/s PCIe``."""
    interrupt_link_line: Literal["irqs", "configured"]
    """An ACPI interrupt link's line: with all interrupts it could have, or only with the one it has."""
    osc_skipped: bool
    """A host bridge that is neither PCI Express nor asked by the firmware gets no _OSC."""
    iommu_probe_by_unit: bool
    """Each IOMMU takes its devices when it is registered; before, the bus was walked once all were known."""
    iommu_line_suffix_space: bool
    """The line about the default domain ends with a blank."""
    dmar_scalable_line: bool
    """A guest's IOMMU without scalable mode is warned about."""
    amd_iommu_global_features: bool
    """Features that all AMD IOMMUs have are told."""
    amd_iommu_cap_line: bool
    """An AMD IOMMU's capability is logged."""
    amd_iommu_log_irqs: bool
    """Each log of an AMD IOMMU in x2APIC mode has an interrupt; before, one for all."""
    pci_e820_words: bool
    """The plea to report ``pci=use_e820`` is a whole sentence."""
    pci_config_acs: bool
    """``pci=config_acs=`` sets access control bit by bit."""
    acs_integrated_endpoints: bool
    """Intel's endpoints inside the root complex are known not to talk to each other."""

    port_services_by_port: bool
    """A port's services get their drivers with the port; before, each driver came to all ports in turn."""
    port_service_lines: Literal["port", "service", "prefixed"]
    """Lines of services: of the port for errors too, of the service's own device, or of the port with its name."""
    port_event_collectors: bool
    """The driver of ports takes event collectors of the root complex too."""
    port_aer_everywhere: bool
    """Ports that are no root ports get the service for errors (and an interrupt), too."""
    port_bandwidth_service: Literal["none", "notification", "control"]
    """The service for changes of a link: none, of ports that tell of them, of those with several speeds alone."""
    dpc_irq_line: bool
    """Containment of errors is logged with its interrupt."""
    slot_inband_field: bool
    """A slot's line tells whether in-band presence detection can be switched off."""
    slot_command_erratum: bool
    """A slot's line tells of ports that do not say when each command is done."""

    # Kexec HandOver

    kho_compatible: str
    """Version of the handover's layout, as the root tree names it."""
    kho_excludes_deferred: bool
    """A kernel is built with Kexec HandOver or with deferred struct pages, not with both."""
    kho_extended_scratch: bool
    """Memory without anything preserved in the same gigabyte is scratch too."""
    reserve_mem_lines: bool
    """A refused reserve_mem= is complained about."""

    # console and kexec

    log_buf_records: bool
    """The log's buffer comes with descriptors and facts of its records."""
    printk_prefix: Literal["", "printk: "]
    """How lines about the log's buffer and consoles begin."""
    rcu_prefix: Literal["", "rcu: "]
    """How lines about read-copy-update begin."""
    console_line: Literal["console", "legacy console"]
    """How the line about an enabled console begins."""
    console_flush_first: bool
    """A console gets all earlier lines before the log says that it is enabled."""
    kexec_ranges_top_down: bool
    """Segments are placed in the highest range that has room; before, in the lowest."""
    kexec_range_end_used: bool
    """The last byte of a range may be used too."""
    kexec_file_flags: int
    """Flags that kexec_file_load() knows."""
    kexec_rng_seed: bool
    """A random seed is handed to the next kernel, and taken from the one before."""
    kexec_cma: bool
    """Segments are loaded where they will run if the contiguous allocator has room for them."""
    kexec_digest_skipped: bool
    """The purgatory has nothing to check if no DMA can have reached what was loaded, as in scratch or CMA."""
    kexec_swap_copy: bool
    """Pages are swapped into place even if nothing has to be kept."""


@lru_cache(maxsize=1)
def sentences() -> dict[str, str]:
    """What each field means, by its name: the text under it in the source."""
    tree = ast.parse(inspect.getsource(Behaviour)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = str(text.value.value)
    return found
