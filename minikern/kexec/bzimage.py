"""bzImage: what a kernel file says about itself, and the checks before it is believed.

Source: Documentation/arch/x86/boot.rst; arch/x86/kernel/kexec-bzimage64.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hw.boot_params import BOOT_FLAG, HDRS, SETUP_HEADER, SETUP_HEADER_END, SETUP_HEADER_START
from hw.units import PAGE_SIZE
from minikern.kexec.errors import KexecError

SECTOR = 512
MIN_FILE_BYTES = 2 * SECTOR
MAX_FILE_BYTES = 4 << 30  # Source: kernel/kexec_file.c, KEXEC_FILE_SIZE_MAX
MIN_VERSION = 0x020C
LOADED_HIGH = 1 << 0
XLF_KERNEL_64, XLF_CAN_BE_LOADED_ABOVE_4G, XLF_5LEVEL = 1 << 0, 1 << 1, 1 << 5
DEFAULT_SETUP_SECTS = 4
MAX_ELFCOREHDR_STR_LEN = 30  # room kept for " elfcorehdr=0x..."; Source: kexec-bzimage64.c
ENTRY_64 = 0x200  # 64-bit entry point behind the load address; Source: boot.rst, "64-bit boot protocol"
MIB = 1 << 20

COMPRESSORS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x1f\x9e", "gzip"),
    (b"BZh", "bzip2"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x89LZO", "lzo"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x7fELF", "none"),
)
"""First bytes of the payload. Source: boot.rst, "payload_offset"; lib/decompress.c"""


def field(data: bytes, name: str) -> int:
    """One setup_header field of a file."""
    offset, size = SETUP_HEADER[name]
    return int.from_bytes(data[offset : offset + size], "little")


@dataclass(frozen=True)
class BzImage:
    """A kernel file that passed the checks; sizes in bytes, addresses physical."""

    data: bytes
    kernel_offset: int  # where the 64-bit part begins
    cmdline_size: int
    kernel_alignment: int
    pref_address: int
    init_size: int
    payload: tuple[int, int]  # file offset and length of the compressed kernel, (0, 0) if the header has none

    @property
    def kernel_bytes(self) -> int:
        """Size of the part that is loaded."""
        return len(self.data) - self.kernel_offset

    @property
    def memsz(self) -> int:
        """Memory the kernel needs to decompress itself and to start, whole pages."""
        return -(-self.init_size // PAGE_SIZE) * PAGE_SIZE

    @property
    def load_min(self) -> int:
        """Lowest address it may be put at."""
        return max(self.pref_address, MIB)

    def setup_header(self) -> bytes:
        """The bytes that go into the new zero page, from offset 0x1f1; their end is told by the jump instruction."""
        return self.data[SETUP_HEADER_START : 0x202 + self.data[0x201]]

    def version(self) -> str:
        """The kernel's version string, empty if the header points at none. Source: boot.rst, "kernel_version" """
        start = field(self.data, "kernel_version")
        if not start or start + SECTOR >= self.kernel_offset:
            return ""
        text = self.data[start + SECTOR : self.kernel_offset].split(b"\0")[0]
        return text.decode("ascii", "replace")

    def compressor(self) -> str:
        """How the payload is packed, ``unknown`` if by nothing that is known."""
        start, length = self.payload
        head = self.data[start : start + min(length, 8)]
        return next((name for magic, name in COMPRESSORS if head.startswith(magic)), "unknown")

    def decompressed_bytes(self) -> int:
        """Size of the unpacked kernel: every format ends with it as a 32-bit number. 0 without a payload.

        Source: boot.rst, "payload_length"; scripts/Makefile.lib, size_append
        """
        start, length = self.payload
        if length < 4 or self.compressor() == "none":
            return length
        stated = int.from_bytes(self.data[start + length - 4 : start + length], "little")
        return min(stated, self.memsz)


def _refuse(code: str, name: str, expected: str, data: bytes, more: str = "") -> None:
    offset, size = SETUP_HEADER[name]
    raise KexecError(code, name, expected, f"{field(data, name):#0{2 + 2 * size}x}{more}", offset)


def _what(data: bytes) -> str:
    from minikern.kexec.file_kind import kind_of

    kind = kind_of(data)
    return f": {kind}" if kind else ""


def bzimage64_probe(data: bytes, pgtable_l5: bool = False) -> None:
    """Is this a 64-bit kernel that can be started? KexecError ENOEXEC says what is missing.

    Source: arch/x86/kernel/kexec-bzimage64.c:bzImage64_probe() @ v6.12
    """
    if len(data) < MIN_FILE_BYTES:
        found = f"{len(data)} bytes{_what(data)}"
        raise KexecError("ENOEXEC", "file size", f"at least {MIN_FILE_BYTES} bytes", found)
    if field(data, "header") != HDRS:
        _refuse("ENOEXEC", "header", f"{HDRS:#010x} ('HdrS')", data, _what(data))
    if field(data, "boot_flag") != BOOT_FLAG:
        _refuse("ENOEXEC", "boot_flag", f"{BOOT_FLAG:#06x}", data)
    if field(data, "version") < MIN_VERSION:
        _refuse("ENOEXEC", "version", f"at least {MIN_VERSION:#06x}", data)
    if not field(data, "loadflags") & LOADED_HIGH:
        _refuse("ENOEXEC", "loadflags", "LOADED_HIGH (bit 0)", data)
    flags = field(data, "xloadflags")
    if not flags & XLF_KERNEL_64:
        _refuse("ENOEXEC", "xloadflags", "KERNEL_64 (bit 0)", data)
    if not flags & XLF_CAN_BE_LOADED_ABOVE_4G:
        _refuse("ENOEXEC", "xloadflags", "CAN_BE_LOADED_ABOVE_4G (bit 1)", data)
    if pgtable_l5 and not flags & XLF_5LEVEL:
        _refuse("ENOEXEC", "xloadflags", "5LEVEL (bit 5), this kernel runs with five page-table levels", data)


def load_bzimage(
    data: bytes, cmdline_bytes: int, pgtable_l5: bool = False, verify_sig: Callable[[bytes], None] | None = None
) -> BzImage:
    """Check a kernel file and take it apart. ``cmdline_bytes`` includes the NUL; ``verify_sig`` comes after the probe.

    KexecError: ENOEXEC for a file that is no kernel, is cut off or contradicts itself, EINVAL for a command line it
    cannot take. Linux itself trusts ``relocatable_kernel``, ``init_size``, the alignment and the payload's place; a
    lie there would only show after the jump, so they are refused here with ENOEXEC.
    Source: arch/x86/kernel/kexec-bzimage64.c:bzImage64_load() @ v6.12
    """
    bzimage64_probe(data, pgtable_l5)
    if verify_sig is not None:
        verify_sig(data)
    offset = ((field(data, "setup_sects") or DEFAULT_SETUP_SECTS) + 1) * SECTOR
    if len(data) < offset:
        where = SETUP_HEADER["setup_sects"][0]
        raise KexecError("ENOEXEC", "setup_sects", f"a file of at least {offset} bytes", f"{len(data)} bytes", where)
    _check_cmdline(data, cmdline_bytes)
    payload = _check_sizes(data, offset)
    return BzImage(
        data=data,
        kernel_offset=offset,
        cmdline_size=field(data, "cmdline_size"),
        kernel_alignment=field(data, "kernel_alignment"),
        pref_address=field(data, "pref_address"),
        init_size=field(data, "init_size"),
        payload=payload,
    )


def _check_cmdline(data: bytes, cmdline_bytes: int) -> None:
    # The room for elfcorehdr= is asked for whether a crash kernel is loaded or not.
    limit = field(data, "cmdline_size")
    if cmdline_bytes + MAX_ELFCOREHDR_STR_LEN > limit:
        where = SETUP_HEADER["cmdline_size"][0]
        room = f"at most {max(0, limit - MAX_ELFCOREHDR_STR_LEN)} bytes with the NUL (cmdline_size less 30)"
        raise KexecError("EINVAL", "command line", room, f"{cmdline_bytes} bytes", where)


def _check_sizes(data: bytes, offset: int) -> tuple[int, int]:
    if not field(data, "relocatable_kernel"):
        _refuse("ENOEXEC", "relocatable_kernel", "a relocatable kernel (1)", data)
    alignment = field(data, "kernel_alignment")
    if alignment == 0 or alignment & (alignment - 1):
        _refuse("ENOEXEC", "kernel_alignment", "a power of two", data)
    header_end = 0x202 + data[0x201]
    if not SETUP_HEADER["kernel_alignment"][0] < header_end <= 0x290:
        where = SETUP_HEADER["jump"][0] + 1
        raise KexecError("ENOEXEC", "end of setup_header", f"up to {SETUP_HEADER_END:#x}", f"{header_end:#x}", where)
    loaded = len(data) - offset
    if field(data, "init_size") < loaded:
        _refuse("ENOEXEC", "init_size", f"at least the {loaded} bytes of the kernel itself", data)
    start, length = field(data, "payload_offset"), field(data, "payload_length")
    if not length:
        return (0, 0)
    if start + length > loaded:
        _refuse("ENOEXEC", "payload_length", f"a payload that ends within the {loaded} bytes of the kernel", data)
    return (offset + start, length)
