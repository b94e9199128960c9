"""Large system hash tables. Source: mm/mm_init.c:alloc_large_system_hash() @ v6.12"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hw.units import PAGE_SHIFT, PAGE_SIZE, SMP_CACHE_BYTES
from minikern.core.cmdline import strtoull
from minikern.core.moduleparam import Parameter, early_param, setup_param
from minikern.mm.buddy.zonelist import nr_kernel_pages
from minikern.mm.page.mmzone import MAX_PAGE_ORDER

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

ADAPT_SCALE_BASE_PAGES = (64 << 30) >> PAGE_SHIFT
ADAPT_SCALE_SHIFT = 2
HASH_MAX_ENTRIES = 1 << 31
PMD_SIZE = 2 << 20


class Table(NamedTuple):
    """One hash table as the kernel declares it."""

    name: str
    bucket_bytes: int
    scale: int
    early: bool = False  # allocated before the page allocator unless hash tables are spread over nodes
    low_limit: int = 0
    high_limit: int = 0
    entries: int = 0  # asked for by the caller; 0: by memory size
    param: str = ""  # the parameter that says how many


# Source: fs/dcache.c, fs/inode.c, fs/namespace.c @ v6.12
DENTRY = Table("Dentry cache", 8, 13, True, param="dhash_entries")
INODE = Table("Inode-cache", 8, 14, True, param="ihash_entries")
MOUNT = Table("Mount-cache", 8, 19, param="mhash_entries")
MOUNTPOINT = Table("Mountpoint-cache", 8, 19, param="mphash_entries")
# Source: net/ipv4/route.c, inet_hashtables.c, tcp.c, udp.c, net/mptcp/token.c @ v6.12
IP_IDENTS = Table("IP idents", 8, 16, low_limit=2048, high_limit=256 << 10)
TCP_LISTEN = Table("tcp_listen_portaddr_hash", 16, 21, high_limit=64 << 10)
TABLE_PERTURB = Table("Table-perturb", 4, 0, low_limit=1 << 16, high_limit=1 << 16, entries=1 << 16)
TCP_ESTABLISHED = Table("TCP established", 8, 17, high_limit=512 << 10, param="thash_entries")
TCP_BIND = Table("TCP bind", 32, 17, high_limit=64 << 10)
MPTCP_TOKEN = Table("MPTCP token", 24, 20, high_limit=64 << 10)
UDP = Table("UDP", 32, 21, low_limit=256, high_limit=64 << 10, param="uhash_entries")
UDP_HASH4 = UDP._replace(bucket_bytes=64)  # with room for connected sockets; Source: net/ipv4/udp.c @ v6.13
POSIX_TIMERS = Table("posixtimers", 16, 0)  # Source: kernel/time/posix-timers.c:struct timer_hash_bucket @ v7.2
FUTEX_BUCKET_BYTES = 64


def rounddown_pow_of_two(n: int) -> int:
    """Largest power of two not above ``n`` (n >= 1)."""
    return 1 << (n.bit_length() - 1)


def hash_entries(kernel_pages: int, all_pages: int, table: Table) -> int:
    """How many buckets a table gets."""
    entries = table.entries or _scaled_entries(kernel_pages, table)
    entries = 1 << (entries - 1).bit_length()
    limit = table.high_limit or ((all_pages << PAGE_SHIFT) >> 4) // table.bucket_bytes
    entries = min(max(entries, table.low_limit), limit, HASH_MAX_ENTRIES)
    return rounddown_pow_of_two(max(entries, 1))


def _scaled_entries(kernel_pages: int, table: Table) -> int:
    pages, scale = -(-kernel_pages // 256) * 256, table.scale
    if not table.high_limit:
        adapt = ADAPT_SCALE_BASE_PAGES
        while adapt < pages:
            scale += 1
            adapt <<= ADAPT_SCALE_SHIFT
    entries = pages >> (scale - PAGE_SHIFT) if scale > PAGE_SHIFT else pages << (PAGE_SHIFT - scale)
    return max(entries, PAGE_SIZE // table.bucket_bytes)


def hashdist(k: Kernel) -> bool:
    """True if tables are spread over the nodes: the default with more than one node with memory.

    Source: mm/mm_init.c:set_hashdist(), fixup_hashdist() @ v6.12
    """
    # The parameter is read after one node alone has switched the default off.
    given = k.cmdline.get("hashdist")
    if given is not None:
        return strtoull(given)[0] & 0xFFFF_FFFF != 0
    return sum(1 for node in k.nodes if node.present_pages) > 1


def as_asked(k: Kernel, table: Table) -> Table:
    """The table with the number of entries the command line gives it.

    Source: fs/dcache.c, fs/inode.c, fs/namespace.c, net/ipv4/tcp.c, net/ipv4/udp.c @ v6.12
    """
    given = strtoull(k.cmdline.get(table.param) or "")[0] if table.param else 0
    if not given:
        return table
    if table.param == "thash_entries":
        return table._replace(entries=given, high_limit=0)
    return table._replace(entries=max(given, table.low_limit))


def alloc_large_system_hash(k: Kernel, table: Table, early: bool = False) -> int:
    """Allocate one table and log it; returns its entries."""
    table = as_asked(k, table)
    table = table._replace(bucket_bytes=k.release.facts.bucket_bytes.get(table.name, table.bucket_bytes))
    entries = hash_entries(nr_kernel_pages(k), k.totals.nr_all_pages, table)
    size = entries * table.bucket_bytes
    kind = "linear"
    if early:
        k.memblock.alloc(size, SMP_CACHE_BYTES)
    elif hashdist(k) or get_order(size) > MAX_PAGE_ORDER:
        # Each online node takes its share, nodes without memory counted. Source: mm/vmalloc.c:__vmalloc_node_range()
        share = size if k.behaviour.vmalloc_huge_whole else size // len(k.nodes)
        huge = share >= PMD_SIZE and not k.cmdline.has("nohugevmalloc")
        kind = "vmalloc hugepage" if huge else "vmalloc"
    k.charge("hash_table_page", -(-size // PAGE_SIZE))
    place = f"order: {_told_order(k, size)}, {size} bytes{_told(k, kind)}"
    k.printk(f"{table.name} hash table entries: {entries} ({place})")
    return entries


def get_order(size: int) -> int:
    """Order of the smallest block of pages that holds ``size`` bytes."""
    return max(0, (size - 1).bit_length() - PAGE_SHIFT)


def _told_order(k: Kernel, size: int) -> int:
    return get_order(size) if k.behaviour.hash_order == "ceiling" else max(0, size.bit_length() - 1 - PAGE_SHIFT)


def _told(k: Kernel, kind: str) -> str:
    known = k.behaviour.hash_kinds
    if known == "none":
        return ""
    return f", {kind}" if known == "hugepage" else f", {kind.removesuffix(' hugepage')}"


def posixtimer_init(k: Kernel) -> None:
    """512 buckets a CPU, since 6.15. Source: kernel/time/posix-timers.c:posixtimer_init() @ v7.2"""
    if k.behaviour.posixtimer_hash:
        entries = 1 << (512 * len(k.cpus.possible) - 1).bit_length()
        alloc_large_system_hash(k, POSIX_TIMERS._replace(low_limit=entries, high_limit=entries, entries=entries))


def futex_init(k: Kernel) -> None:
    """256 buckets a CPU; since 6.16 each node has a table. Source: kernel/futex/core.c:futex_init() @ v6.12, v7.2"""
    if k.behaviour.futex_node_tables:
        _futex_node_tables(k)
        return
    entries = 1 << (256 * len(k.cpus.possible) - 1).bit_length()
    table = Table("futex", FUTEX_BUCKET_BYTES, 0, low_limit=entries, high_limit=entries, entries=entries)
    alloc_large_system_hash(k, table)


def _futex_node_tables(k: Kernel) -> None:
    nodes = len(k.nodes)
    entries = 1 << (max(4, 256 * len(k.cpus.possible) // nodes) - 1).bit_length()
    size = entries * FUTEX_BUCKET_BYTES
    kind = "vmalloc" if get_order(size) > MAX_PAGE_ORDER else "linear"
    k.charge("hash_table_page", nodes * -(-size // PAGE_SIZE))
    total = f"{size} bytes on {nodes} NUMA nodes, total {size * nodes >> 10} KiB"
    k.printk(f"futex hash table entries: {entries} ({total}, {kind}).")


def dquot_init(k: Kernel) -> None:
    """One page of chains. Source: fs/quota/dquot.c:dquot_init() @ v6.12, v7.2"""
    order = "" if k.behaviour.dquot_line_short else "order 0, "
    k.printk(f"VFS: Dquot-cache hash table entries: {PAGE_SIZE // 8} ({order}{PAGE_SIZE} bytes)")


def inet_init(k: Kernel) -> None:
    """The network's tables. Source: net/ipv4/af_inet.c:inet_init() @ v6.12"""
    has = k.behaviour
    listen = TCP_LISTEN, has.tcp_listen_hash
    _alloc_those(k, (IP_IDENTS, has.ip_idents_hash), listen, (TABLE_PERTURB, has.table_perturb))
    established = alloc_large_system_hash(k, TCP_ESTABLISHED)
    bind = alloc_large_system_hash(k, TCP_BIND._replace(bucket_bytes=has.tcp_bind_bucket_bytes, entries=established))
    k.printk(f"TCP: Hash tables configured (established {established} bind {bind})")
    udp = UDP_HASH4 if has.udp_hash4 else UDP
    mptcp = has.mptcp_hash and k.config.enabled("CONFIG_MPTCP")
    _alloc_those(k, (MPTCP_TOKEN, mptcp), (udp, True), (udp._replace(name="UDP-Lite"), has.udp_lite))


def _alloc_those(k: Kernel, *tables: tuple[Table, bool]) -> None:
    for table, there in tables:
        if there:
            alloc_large_system_hash(k, table)


def vfs_caches_init_early(k: Kernel) -> None:
    """Dentry and inode tables, unless they wait for vmalloc. Source: fs/dcache.c:vfs_caches_init_early()"""
    if not hashdist(k):
        alloc_large_system_hash(k, DENTRY, True)
        alloc_large_system_hash(k, INODE, True)


def vfs_caches_init(k: Kernel) -> None:
    """The tables that were not allocated early. Source: fs/dcache.c:vfs_caches_init()"""
    if hashdist(k):
        alloc_large_system_hash(k, DENTRY)
        alloc_large_system_hash(k, INODE)
    alloc_large_system_hash(k, MOUNT)
    alloc_large_system_hash(k, MOUNTPOINT)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("hashdist=", read_by=hashdist),
    setup_param("dhash_entries=", read_by=as_asked),
    setup_param("ihash_entries=", read_by=as_asked),
    setup_param("mhash_entries=", read_by=as_asked),
    setup_param("mphash_entries=", read_by=as_asked),
    setup_param("thash_entries=", read_by=as_asked),
    setup_param("uhash_entries=", read_by=as_asked),
    early_param("nohugevmalloc", read_by=alloc_large_system_hash),
)
