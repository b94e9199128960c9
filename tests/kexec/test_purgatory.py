"""Digests agree with one flat calculation; a mismatch names regions, digests and the first region that differs."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw import purgatory as layout
from hw.errors import InputError, MachineStopped
from hw.memory import BLOCK_SIZE, PhysicalMemory
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.variant import load_variant
from minikern.describe.presets import load_machine
from minikern.kexec.digest import available, digest_memory
from minikern.kexec.purgatory import MODES, digest_segments, purgatory_of_running_image, verify
from minikern.kexec.segments import Segment
from minikern.kexec.sha256 import initial_state, round_constants, sha256_generic
from minikern.lab.run import choose_release, prepare

ADDRESS = 0x8000


def test_constants_are_those_of_the_standard() -> None:
    """First and last of each. Source: FIPS 180-4, 4.2.2 and 5.3.3"""
    assert [int(v) for v in initial_state()[[0, 7]]] == [0x6A09E667, 0x5BE0CD19]
    assert [int(v) for v in round_constants()[[0, 63]]] == [0x428A2F98, 0xC67178F2]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=150), max_size=6))
def test_generic_takes_pieces_of_any_length(pieces: list[bytes]) -> None:
    expected = hashlib.sha256(b"".join(pieces)).digest()
    assert sha256_generic(memoryview(piece) for piece in pieces) == expected


@pytest.mark.parametrize("name", available())
def test_memory_is_digested_as_one_flat_buffer(name: str) -> None:
    memory = PhysicalMemory()
    memory.write(BLOCK_SIZE - 100, random.Random(1).randbytes(300))
    memory.write(5 * BLOCK_SIZE, b"far")
    regions = [(0, BLOCK_SIZE - 200), (BLOCK_SIZE - 150, 3 * BLOCK_SIZE), (0x100, 0), (5 * BLOCK_SIZE - 7, 77)]
    flat = b"".join(memory.read(start, length) for start, length in regions)
    done = digest_memory(name, memory, regions)
    assert (done.digest, done.size) == (hashlib.sha256(flat).digest(), len(flat))
    assert digest_memory(name, memory, []).digest == hashlib.sha256(b"").digest()


def test_an_unknown_digest_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of generic"):
        digest_memory("md5", PhysicalMemory(), [])


def loaded(mode: str) -> tuple[PhysicalMemory, list[Segment]]:
    memory = PhysicalMemory()
    rng = random.Random(2)
    segments = [
        Segment("params", rng.randbytes(5000), 0x10000, 0x2000),
        Segment("kernel", rng.randbytes(9000), 0x40000, 0x8000),
    ]
    known = digest_segments(segments, MODES[mode])
    apart = known.region_digests if MODES[mode].apart else ()
    memory.write(ADDRESS, layout.build(known.regions, known.digest, {"rip": 0x40200}, apart))
    for segment in segments:
        memory.write(segment.mem, segment.buf)
    return memory, segments


CHECKED = [name for name, mode in MODES.items() if mode.check]


@pytest.mark.parametrize("name", CHECKED)
def test_what_was_loaded_verifies(name: str) -> None:
    memory, segments = loaded(name)
    done = verify(memory, ADDRESS, "hashlib", MODES[name])
    sizes = [segment.bufsz if MODES[name].file_bytes else segment.memsz for segment in segments]
    assert (done.size, done.critical_bytes) == (sum(sizes), max(sizes) if MODES[name].apart else sum(sizes))


@pytest.mark.parametrize("name", CHECKED)
def test_a_flipped_bit_is_found_and_its_region_named(name: str) -> None:
    memory, segments = loaded(name)
    known = digest_segments(segments, MODES[name])
    memory.write_int(0x40000 + 8999, 1, memory.read_int(0x40000 + 8999, 1) ^ 0x80)
    with pytest.raises(MachineStopped) as error:
        verify(memory, ADDRESS, "hashlib", MODES[name], known)
    text = str(error.value)
    assert "first region that differs: kernel" in text
    assert "params [0x10000-" in text and "kernel [0x40000-" in text
    expected, found = (text.split(word)[1].split()[0].strip(",;") for word in ("expected ", "found "))
    assert len(expected) == len(found) == 64 and expected != found


def test_file_bytes_alone_miss_what_lies_behind_them() -> None:
    for name, missed in (("file-bytes", True), ("generic", False)):
        memory, _ = loaded(name)
        memory.write_int(0x40000 + 9001, 1, 1)
        if missed:
            verify(memory, ADDRESS, "hashlib", MODES[name])
        else:
            with pytest.raises(MachineStopped):
                verify(memory, ADDRESS, "hashlib", MODES[name])


@pytest.mark.parametrize("offset", [layout.SHA256_DIGEST, layout.SHA_REGIONS, layout.SHA_REGIONS + 15 * 16 + 14])
def test_a_changed_table_is_found(offset: int) -> None:
    memory, segments = loaded("generic")
    memory.write_int(ADDRESS + offset, 1, memory.read_int(ADDRESS + offset, 1) ^ 1)
    with pytest.raises(MachineStopped, match="purgatory"):
        verify(memory, ADDRESS, "hashlib", MODES["generic"], digest_segments(segments, MODES["generic"]))


def running(variant: str = "parallel-smp") -> Kernel:
    spec = load_machine("lpc2023")
    return prepare(spec, load_variant(variant), choose_release(spec), "", BootOptions())


def test_a_machine_started_by_kexec_books_its_purgatory() -> None:
    k = running()
    purgatory_of_running_image(k)
    regions = layout.read_regions(k.machine.bus.memory, layout.MIN_ADDRESS)
    assert k.ledger.count("sha256_generic_byte") == sum(length for _, length in regions) > 30_000_000
    assert abs(k.ledger.total_ns("sha256_generic_byte") / 200e6 - 1) < 0.2
    assert k.phase_ns()["purgatory"] == k.machine.clock.now


def test_without_purgatory_nothing_is_booked_or_found() -> None:
    k = running("no-purgatory")
    k.machine.bus.memory.write_int(0x2000000, 1, 1)
    purgatory_of_running_image(k)
    assert k.ledger.count("sha256_generic_byte") == 0


def test_a_bit_flipped_in_a_running_image_stops_the_machine() -> None:
    k = running()
    k.machine.bus.memory.write_int(0x2000000, 1, 1)
    with pytest.raises(MachineStopped, match="SHA-256"):
        purgatory_of_running_image(k)


def test_another_loader_has_no_purgatory() -> None:
    spec = load_machine("tiny")
    k = prepare(spec, None, choose_release(spec), "", BootOptions())
    purgatory_of_running_image(k)
    assert k.machine.clock.now == 0
