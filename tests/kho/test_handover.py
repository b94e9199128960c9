"""One kernel hands over to the next: where segments go, what is found again, and what is lost when a bit is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.boot_params import get
from hw.errors import InputError
from minikern.core.variant import load_variant
from minikern.describe.presets import load_machine, load_preset
from minikern.kexec.load import Kexec
from minikern.kho import retrieve_files, sessions
from minikern.lab.kexec import Rebooted, reboot
from minikern.lab.run import Boot, boot
from minikern.report.dmesg import format_dmesg
from minikern.state.kho import Memfd
from minikern.state.memblock import Flags
from minikern.verify.page_check import check_memmap
from tests.kexec.images import make_bzimage, put
from tests.support import CAPTURES, class_lines, texts
from tests.test_captures import CLASSES

MIB = 1 << 20
PAGE = 4096
VERSION = b"7.2.13-kho (root@vm) #1 SMP PREEMPT_DYNAMIC"
WORDS = "kho=on liveupdate=on reserve_mem=1M:4096:keep"
PAIR = CAPTURES / "kho72-kexec-debug"


def cold(words: str = WORDS, release: str = "kho-7.2") -> Boot:
    return boot(load_preset("tiny"), release=release, append=words)


def again(first: Boot, words: str = WORDS, release: str = "") -> Rebooted:
    kernel = bytes(make_bzimage(init_size=0x1000000, version=VERSION))
    image = Kexec(first.kernel).kexec_file_load(kernel, b"initrd" * 999, f"{first.kernel.cmdline.text} {words}")
    return reboot(first, image, release=release)


def kept(first: Boot, pages: int = 64) -> Memfd:
    """A memory file of ``pages`` pages in session vm0, token 7, filled with numbers."""
    k = first.kernel
    session = sessions.create_session(k, "vm0")
    file = sessions.allocate_memfd(k, pages * PAGE)
    for index, (pfn, _) in enumerate(file.folios):
        k.machine.bus.memory.write(pfn * PAGE, index.to_bytes(8, "little") * 512)
    sessions.preserve_memfd(k, session, 7, file)
    return file


def test_everything_is_put_into_scratch_and_found_again() -> None:
    first = cold()
    areas = list(first.kernel.kho.scratch)
    second = again(first)
    for segment in second.image.kimage.segments:
        inside = [area for area in areas if area.addr <= segment.mem and segment.end <= area.addr + area.size]
        assert inside, f"{segment.name} at {segment.mem:#x} is outside of scratch"
    log = texts(second.boot)
    assert "KHO: found kexec handover data." in log
    assert "Revived memory reservation 'keep' from KHO" in log
    assert "luo: Retrieved live update data, liveupdate number: 1" in log
    assert "KHO: exec from: 7.2.13-kho (count 1)" in log
    assert log[-1] == "Run /init as init process"
    kernel = second.boot.kernel
    assert not second.lost
    assert kernel.kho.scratch == areas, "the first kernel's areas are used for ever"
    assert kernel.kho.reservations == first.kernel.kho.reservations
    found = check_memmap(kernel)
    assert found.ok, found.message


def test_the_count_goes_up_by_every_kernel() -> None:
    second = again(cold())
    third = again(second.boot)
    assert "KHO: exec from: 7.2.13-kho (count 2)" in texts(third.boot)
    assert "luo: Retrieved live update data, liveupdate number: 2" in texts(third.boot)


def test_a_memory_file_lies_where_it_lay() -> None:
    first = cold()
    file = kept(first)
    second = again(first)
    memory = second.boot.kernel.machine.bus.memory
    for index, (pfn, _) in enumerate(file.folios):
        assert memory.read(pfn * PAGE, PAGE) == index.to_bytes(8, "little") * 512
    kernel = second.boot.kernel
    managed = kernel.page_alloc.totalram_pages
    back = retrieve_files.retrieve_memfd(kernel, "vm0", 7)
    assert (back.size, list(back.folios)) == (file.size, list(file.folios))
    # its folios, one page of their list, one chunk, one page of description
    assert kernel.page_alloc.totalram_pages - managed == len(file.folios) + 3
    found = check_memmap(kernel)
    assert found.ok, found.message
    with pytest.raises(InputError, match="not preserved"):
        retrieve_files.retrieve_memfd(kernel, "vm0", 7)
    for session, token in (("vm1", 7), ("vm0", 8)):
        with pytest.raises(InputError, match="no file"):
            retrieve_files.retrieve_memfd(kernel, session, token)


def test_folios_are_reserved_until_somebody_asks_for_them() -> None:
    first = cold()
    file = kept(first)
    second = again(first)
    reserved = second.boot.kernel.memblock.reserved_regions()
    for pfn, _ in file.folios:
        assert any(r.base <= pfn * PAGE < r.end and r.flags & Flags.RSRV_NOINIT for r in reserved)


def test_kernels_of_kho_v1_list_chunks() -> None:
    spec, variant = load_preset("laptop"), load_variant("kho-6.18")
    first = boot(spec, variant, "linux-6.16", "reserve_mem=1M:4096:keep")
    kernel = bytes(make_bzimage(init_size=0x3000000, version=b"6.18.0 (x@y) #1 SMP"))
    image = Kexec(first.kernel).kexec_file_load(kernel, b"initrd" * 999, first.kernel.cmdline.text)
    second = reboot(first, image)
    log = texts(second.boot)
    assert "KHO: found kexec handover data." in log
    assert "Revived memory reservation 'keep' from KHO" in log
    assert not any(line.startswith("KHO: exec from") for line in log), "that came with the radix tree"
    assert not second.lost
    assert second.boot.kernel.kho.reservations == first.kernel.kho.reservations
    found = check_memmap(second.boot.kernel)
    assert found.ok, found.message


def test_sessions_have_names_and_need_the_orchestrator() -> None:
    first = cold("kho=on")
    with pytest.raises(InputError, match="liveupdate=on"):
        sessions.create_session(first.kernel, "vm0")
    with_luo = cold()
    sessions.create_session(with_luo.kernel, "vm0")
    for name in ("vm0", "", "x" * 64):
        with pytest.raises(InputError):
            sessions.create_session(with_luo.kernel, name)


def test_without_kho_nothing_is_handed_over() -> None:
    first = cold("kho=off")
    second = again(first, "")
    assert not second.boot.kernel.kho.scratch
    assert not any("KHO" in line for line in texts(second.boot))


def test_an_older_layout_is_not_understood() -> None:
    first = cold(release="kho-7.2")
    memory = first.kernel.machine.bus.memory
    assert first.kernel.kho.outgoing is not None
    at = first.kernel.kho.outgoing.fdt_phys
    page = memory.read(at, PAGE)
    memory.write(at, page.replace(b"kho-v4", b"kho-v3"))
    second = again(first)
    log = texts(second.boot)
    assert f"KHO: setup: handover FDT ({at:#x}) is incompatible with 'kho-v4': 1" in log
    assert "KHO: disabling KHO revival" in log
    assert [line.split(":")[0] for line in second.lost] == ["everything"]
    assert second.boot.kernel.kho.incoming is None
    assert not any("Revived" in line for line in log)


@pytest.mark.oracle
@pytest.mark.skipif(not PAIR.is_dir(), reason="no captures with Kexec HandOver beside the checkout")
def test_the_captured_machine_handed_over_here_boots_as_the_real_one_did(tmp_path: Path) -> None:
    page = (PAIR / "second/boot_params.bin").read_bytes()
    kernel = make_bzimage(4277248 - 2048, init_size=get(page, "init_size"), version=VERSION)
    put(kernel, "pref_address", get(page, "pref_address"))
    initrd = bytes(get(page, "ramdisk_size"))
    first = boot(load_machine(str(PAIR / "first")))
    cmdline = (PAIR / "second/kernel-cmdline.txt").read_text().strip()
    image = Kexec(first.kernel).kexec_file_load(bytes(kernel), initrd, cmdline)
    second = reboot(first, image)
    params = image.boot_params
    assert get(page, "cmd_line_ptr") == params + PAGE
    assert get(page, "setup_data") == get(second.boot.kernel.boot_params.page, "setup_data")
    real, emulated = (PAIR / "second/dmesg.txt").read_text(), format_dmesg(second.boot.kernel)
    for kind in CLASSES:
        assert class_lines(emulated, kind, tmp_path) == class_lines(real, kind, tmp_path), kind


@pytest.mark.big
def test_struct_pages_of_what_is_preserved_come_back_to_the_boot_cpu() -> None:
    """The talk's host with 480 GiB of guests: deferral leaves them out, each is initialised alone."""
    variant, guests = load_variant("kho-7.2"), 480 << 30
    first = boot(load_preset("lpc2023"), variant, append="kho_scratch=512M,1G,5G")
    session = sessions.create_session(first.kernel, "guests")
    for nid in (0, 1):
        file = sessions.allocate_memfd(first.kernel, guests // 2, order=10, nid=nid)
        sessions.preserve_memfd(first.kernel, session, nid, file)
    kernel = bytes(make_bzimage(init_size=0x3000000))
    second = reboot(first, Kexec(first.kernel).kexec_file_load(kernel, b"initrd", first.kernel.cmdline.text))
    alone = [row for row in second.boot.kernel.ledger.entries() if row.kind == "reserved_page_init"]
    deferred = [row for row in second.boot.kernel.ledger.entries() if row.kind == "deferred_page_init"]
    pages = guests // PAGE
    assert 125_800_000 < pages <= sum(row.pieces for row in alone) < 1.05 * pages
    assert all(row.critical for row in alone)
    assert sum(row.total_ns for row in alone) > 1_000_000_000, "what deferral had saved is spent again"
    assert sum(row.pieces for row in deferred) < 0.05 * pages
