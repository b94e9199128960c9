"""What one kernel hands to the next, byte for byte: names, numbers and layouts, one declaration each.

All integers are little endian. Source: include/linux/kho/abi/ @ v7.2, arch/x86/include/uapi/asm/setup_data.h
"""

from __future__ import annotations

import struct

PAGE_SIZE = 4096

# setup_data
SETUP_KEXEC_KHO = 10
KHO_DATA = struct.Struct("<QQQQ")  # struct kho_data: fdt_addr, fdt_size, scratch_addr, scratch_size
SCRATCH = struct.Struct("<QQ")  # struct kho_scratch: addr, size

# root tree; its version is a behaviour of the release
MEMORY_MAP_PROP = "preserved-memory-map"
SUB_TREE_PROP, SUB_TREE_SIZE_PROP = "preserved-data", "blob-size"

# struct page.private of a preserved block's first page
KHO_PAGE_MAGIC = 0x4B484F50  # 'KHOP', in the upper half; the order in the lower

# regions of reserve_mem=
MEMBLOCK_NODE, MEMBLOCK_COMPATIBLE, RESERVE_MEM_COMPATIBLE = "memblock", "memblock-v1", "reserve-mem-v1"

# who started this kernel
METADATA_NODE = "kexec-metadata"
METADATA = struct.Struct("<I65sI")  # version, previous_release, kexec_count
METADATA_VERSION = 1

# Live Update Orchestrator
LUO_NODE, LUO_COMPATIBLE = "LUO", "luo-v5"
LUO = struct.Struct("<8sQQQ")  # compatible, liveupdate_num, sessions_pa, flbs_pa
SERIALIZED_HEAD = struct.Struct("<QQ")  # struct kho_block_header_ser: next, count; entries follow in the same page
SESSION = struct.Struct("<64sQQ")  # name, files_pa, count
FILE = struct.Struct("<48sQQ")  # compatible, data, token
NAME_BYTES = 64  # of a session, with its end

# memfd
MEMFD_COMPATIBLE = "memfd-v2"
MEMFD = struct.Struct("<QQIIQ")  # pos, size, seals, flags, nr_folios; struct kho_vmalloc follows
FOLIO = struct.Struct("<QQ")  # page frame number below bit 52, flags above; index in the file
FOLIO_PFN_BITS = 52
FOLIO_DIRTY, FOLIO_UPTODATE = 1, 2

# vmalloc areas
VMALLOC = struct.Struct("<QIHH")  # struct kho_vmalloc: first, total_pages, flags, order
VMALLOC_ALLOC = 1
CHUNK_ADDRESSES = 511  # of a page, behind the address of the next one

# the map of preserved memory of kho-v1
CHUNK_HEAD = struct.Struct("<QII")  # struct khoser_mem_chunk_hdr: next, order, num_elms
CHUNK_BITMAP = struct.Struct("<QQ")  # struct khoser_mem_bitmap_ptr: phys_start, bitmap
PRESERVE_BYTES = 512
PRESERVE_BITS = PRESERVE_BYTES * 8
KHO_V1, SUB_FDT_PROP_V1 = "kho-v1", "fdt"
