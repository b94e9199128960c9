"""What a file is that is no kernel for this machine, by its first bytes: so that a refusal can say it.

Source: Documentation/arch/arm64/booting.rst, drivers/firmware/efi/libstub/zboot-header.S, lib/decompress.c @ v6.12;
UAPI group, "Unified Kernel Image (UKI)"
"""

from __future__ import annotations

from minikern.kexec.bzimage import COMPRESSORS
from minikern.kexec.elf import E_MAGIC, EHDR, EM_AARCH64, EM_X86_64, ET_CORE, Ehdr
from minikern.kexec.uki import is_uki

ARCH_MAGIC_AT = 0x38
ARCH_IMAGES = {b"ARM\x64": "an arm64 Image", b"RSC\x05": "a RISC-V Image"}
ZBOOT_AT, ZBOOT_MAGIC, ZBOOT_PACKER_AT = 4, b"zimg", 0x18
MACHINES = {EM_X86_64: "x86-64", EM_AARCH64: "arm64", 3: "i386", 243: "RISC-V"}
OTHERS = {
    b"070701": "a cpio archive, as an initial RAM disk is",
    b"070702": "a cpio archive, as an initial RAM disk is",
    b"\x27\x05\x19\x56": "a U-Boot image",
    b"\xd0\x0d\xfe\xed": "a flattened device tree, or a FIT image",
    b"!<arch>\n": "an archive of objects or a Debian package",
}


def kind_of(data: bytes) -> str:
    """What ``data`` begins like, with its article; empty for bytes that begin like nothing known."""
    if data[:2] == b"MZ" and data[ZBOOT_AT : ZBOOT_AT + 4] == ZBOOT_MAGIC:
        packer = data[ZBOOT_PACKER_AT : ZBOOT_PACKER_AT + 8].split(b"\0")[0].decode("ascii", "replace")
        return f"an EFI zboot image, packed by {packer or 'nothing'}"
    arch = ARCH_IMAGES.get(data[ARCH_MAGIC_AT : ARCH_MAGIC_AT + 4])
    if arch:
        return arch
    if is_uki(data):
        return "a unified kernel image (UKI): the kernel is in its section .linux"
    if data[:4] == E_MAGIC and len(data) >= EHDR.size:
        head = Ehdr(*EHDR.unpack_from(data))
        what = "core" if head.type == ET_CORE else "vmlinux"
        return f"an ELF {what} for {MACHINES.get(head.machine, f'machine {head.machine}')}, no bzImage"
    packed = next((name for magic, name in COMPRESSORS if data.startswith(magic)), "")
    if packed:
        return f"a plain {packed} file, without the code that unpacks it"
    if data[:2] == b"MZ":
        return "a PE file that holds no Linux kernel"
    return next((what for magic, what in OTHERS.items() if data.startswith(magic)), "")
