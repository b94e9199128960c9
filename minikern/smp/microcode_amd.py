"""AMD's microcode containers: searched for the patch of one CPU. Bytes from outside: every length is held in bounds.

The kernel's list of digests of published patches is not in here: a patch that would need one is refused.
Source: arch/x86/kernel/cpu/microcode/amd.c @ v6.12 and v6.1
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from minikern.state.microcode import AmdPatch

MAGIC, EQUIVALENCE_TABLE, PATCH = 0x0041_4D44, 0, 1
CONTAINER_HEADER, SECTION_HEADER = struct.Struct("<III"), struct.Struct("<II")
EQUIVALENCE = struct.Struct("<IIIHH")
PATCH_HEADER = struct.Struct("<IIHBBIIIHBBB3x8I")
FAMILY_ZEN = 0x17
MAX_BYTES = {0x10: 2048, 0x11: 2048, 0x12: 2048, 0x14: 1824}  # Source: amd.c:__verify_patch_size()
FINAL_LEVELS = (0x01000098, 0x0100009F, 0x010000AF)  # Source: microcode/core.c: final_levels
# Last revision of each kind whose signature cannot be trusted. Source: amd.c:get_cutoff_revision() @ v6.12
CUTOFFS = {
    rev >> 8: rev
    for rev in (
        0x8001277, 0x800820F, 0x830107C, 0x860010E, 0x8608108, 0x8701034, 0x8A0000A, 0xA00107A, 0xA0011DA, 0xA001243,
        0xA00820E, 0xA101153, 0xA10124E, 0xA108109, 0xA20102F, 0xA201212, 0xA404109, 0xA500013, 0xA60120A, 0xA704109,
        0xA705208, 0xA708009, 0xA70C009, 0xAA00116, 0xAA00218, 0xB002146, 0xB008111, 0xB101046, 0xB204031, 0xB404031,
        0xB404101, 0xB600031, 0xB608031, 0xB700031,
    )
}  # fmt: skip


class AmdRules(NamedTuple):
    """How a release matches patches. ``zen_ids``: from Zen on the revision itself names the CPU."""

    signature: int
    family: int
    revision: int  # what the CPU runs
    zen_ids: bool


def family_of(signature: int) -> int:
    """CPU family by CPUID's signature."""
    base = signature >> 8 & 0xF
    return base + (signature >> 20 & 0xFF) if base == 0xF else base


def signature_of(revision: int) -> int:
    """CPUID's signature of the CPUs a Zen revision is for. Source: amd.c:ucode_rev_to_cpuid() @ v6.12"""
    stepping, model, ext_model = (revision >> shift & 0xF for shift in (8, 12, 20))
    return (revision >> 24 & 0xFF) << 20 | ext_model << 16 | 0xF00 | model << 4 | stepping


def lowest_revision(signature: int) -> int:
    """Revision 0 of a Zen CPU's kind. Source: amd.c:cpuid_to_ucode_rev() @ v6.12"""
    ext_family, ext_model = signature >> 20 & 0xFF, signature >> 16 & 0xF
    return ext_family << 24 | ext_model << 20 | (signature >> 4 & 0xF) << 12 | (signature & 0xF) << 8


def find_patch(blob: bytes, rules: AmdRules, report: Callable[[str], None]) -> AmdPatch | None:
    """The patch for a CPU in a file of containers one behind the other. Source: amd.c:scan_containers() @ v6.12"""
    at = 0
    while at < len(blob):
        patch, used = _container(blob, at, rules, report)
        if patch is not None or not used:
            return patch
        at += used
    return None


def _container(
    blob: bytes, start: int, rules: AmdRules, report: Callable[[str], None]
) -> tuple[AmdPatch | None, int]:
    """(patch, bytes looked at; 0 if this is no container). The last one that fits counts."""
    if len(blob) - start <= CONTAINER_HEADER.size:
        return None, 0
    magic, kind, table_bytes = CONTAINER_HEADER.unpack_from(blob, start)
    at = start + CONTAINER_HEADER.size + table_bytes
    by_id = rules.zen_ids and rules.family >= FAMILY_ZEN
    if magic != MAGIC or at > len(blob):
        return None, 0
    if not by_id and (kind != EQUIVALENCE_TABLE or table_bytes < EQUIVALENCE.size):
        return None, 0
    wanted = 0 if by_id else _equivalent(blob[start + CONTAINER_HEADER.size : at], rules.signature)
    found = None
    while at < len(blob):
        size = _section(blob, at, rules.family)
        if size is None:
            break
        header = PATCH_HEADER.unpack_from(blob, at + SECTION_HEADER.size)
        revision, chips, equivalent = header[1], header[6] | header[7], header[8]
        if chips:
            report(f"microcode: Patch-ID 0x{revision:08x}: chipset-specific code unsupported.")
            break
        fits = signature_of(revision) == rules.signature if by_id else equivalent == wanted
        if 0xF + (equivalent >> 12) == rules.family and fits and _same_side(rules, revision):
            found = AmdPatch(at + SECTION_HEADER.size, size, revision)
        at += SECTION_HEADER.size + size
    return found, at - start


def _equivalent(table: bytes, signature: int) -> int:
    for at in range(0, len(table) - EQUIVALENCE.size + 1, EQUIVALENCE.size):
        installed, _, _, equivalent, _ = EQUIVALENCE.unpack_from(table, at)
        if installed == signature:
            return int(equivalent)
    return 0


def _section(blob: bytes, at: int, family: int) -> int | None:
    """Bytes of the patch behind the section header at ``at``; None: damaged."""
    if len(blob) - at < SECTION_HEADER.size:
        return None
    kind, size = SECTION_HEADER.unpack_from(blob, at)
    room = min(len(blob) - at - SECTION_HEADER.size, MAX_BYTES.get(family, len(blob)))
    return size if kind == PATCH and PATCH_HEADER.size <= size <= room else None


def _same_side(rules: AmdRules, revision: int) -> bool:
    # Old firmware takes old signatures only, new firmware new ones only.
    cutoff = CUTOFFS.get(rules.revision >> 8, 0) if rules.zen_ids else 0
    return not cutoff or (rules.revision <= cutoff) == (revision <= cutoff)


def needs_digest(signature: int, revision: int) -> bool:
    """True if a CPU that runs ``revision`` takes a patch only with a known digest.

    Source: amd.c:cpu_has_entrysign(), need_sha_check() @ v6.12
    """
    family = family_of(signature)
    model = (signature >> 16 & 0xF) << 4 | signature >> 4 & 0xF
    if family not in (0x17, 0x19) and not (family == 0x1A and (model <= 0x2F or model >> 4 in (4, 6, 7))):
        return False
    cutoff = CUTOFFS.get((revision or lowest_revision(signature)) >> 8, 0)
    return not cutoff or (revision or lowest_revision(signature)) <= cutoff
