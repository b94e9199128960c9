from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hw.bus import Bus
from hw.pci.assign import assign_resources
from hw.pci.host import Function, PciTopology, attach_pci, build_topology
from hw.pci.spec import BarSpec, HostBridgeSpec, PciFunctionSpec, PciSpec, WindowSpec, load_pci

LPC2023 = Path(__file__).resolve().parents[3] / "hw" / "machines" / "lpc2023-pci.toml"
Range = tuple[str, int, int]


def decoded(function: Function) -> list[Range]:
    """(io or mem, start, end) of every assigned BAR and ROM, read back from the registers."""
    found: list[Range] = []
    for bar in function.spec.bars:
        at = 0x10 + 4 * bar.index
        start = function.config.read(at, 4) & ~(3 if bar.type == "io" else 15)
        if bar.type == "mem64":
            start |= function.config.read(at + 4, 4) << 32
        if start:
            found.append(("io" if bar.type == "io" else "mem", start, start + bar.size - 1))
    rom = function.config.read(0x38 if function.config.is_bridge else 0x30, 4) & ~0x7FF
    if function.spec.rom_size and rom:
        found.append(("mem", rom, rom + function.spec.rom_size - 1))
    return found


def windows(function: Function) -> list[Range]:
    """Open windows of a bridge."""
    read = function.config.read
    io = ("io", (read(0x1C, 1) & 0xF0) << 8 | read(0x30, 2) << 16,
          (read(0x1D, 1) & 0xF0) << 8 | 0xFFF | read(0x32, 2) << 16)
    memory = ("mem", (read(0x20, 2) & 0xFFF0) << 16, (read(0x22, 2) & 0xFFF0) << 16 | 0xFFFFF)
    pref = ("mem", (read(0x24, 2) & 0xFFF0) << 16 | read(0x28, 4) << 32,
            (read(0x26, 2) & 0xFFF0) << 16 | 0xFFFFF | read(0x2C, 4) << 32)
    return [window for window in (io, memory, pref) if window[1] <= window[2]]


def check(topology: PciTopology, complete: bool) -> None:
    for root in topology.roots:
        allowed = [(window.type, window.start, window.end) for window in root.spec.windows]
        _check_bus(list(root.functions.values()), allowed, complete)


def _check_bus(functions: list[Function], allowed: list[Range], complete: bool) -> None:
    taken = [own for function in functions for own in decoded(function)]
    taken += [window for function in functions if function.config.is_bridge for window in windows(function)]
    for kind, start, end in taken:
        assert any(kind == k and low <= start and end <= high for k, low, high in allowed), (kind, hex(start))
    ordered = sorted(taken)
    for (kind, _, end), (next_kind, start, _) in pairwise(ordered):
        assert kind != next_kind or end < start
    for function in functions:
        if complete:
            assert len(decoded(function)) == len(function.spec.bars) + bool(function.spec.rom_size)
        for _, start, end in decoded(function):
            assert start % (end - start + 1) == 0
        if function.config.is_bridge:
            _check_bus(list(function.children.values()), windows(function), complete)


def test_talk_machine_is_fully_assigned() -> None:
    topology = attach_pci(Bus(), load_pci(LPC2023))
    assign_resources(topology)
    check(topology, True)


SIZES = st.integers(4, 24).map(lambda order: 1 << order)
BARS = st.builds(
    lambda kinds: [BarSpec(2 * i, kind, min(size, 256) if kind == "io" else size, kind == "mem64" and pref)
                   for i, (kind, size, pref) in enumerate(kinds)],
    st.lists(st.tuples(st.sampled_from(["io", "mem32", "mem64"]), SIZES, st.booleans()), max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(on_root=st.lists(BARS, max_size=4), behind=st.lists(BARS, max_size=4))
def test_assignment_keeps_the_rules(on_root: list[list[BarSpec]], behind: list[list[BarSpec]]) -> None:
    functions = [PciFunctionSpec(bdf=f"00:{i + 8:02x}.0", bars=bars) for i, bars in enumerate(on_root)]
    functions.append(PciFunctionSpec(bdf="00:01.0", kind="root_port", secondary=1, subordinate=2))
    functions.append(PciFunctionSpec(bdf="01:00.0", kind="upstream", secondary=2, subordinate=2))
    functions += [PciFunctionSpec(bdf=f"02:{i:02x}.0", bars=bars, kind="endpoint") for i, bars in enumerate(behind)]
    ranges = [WindowSpec("io", 0x1000, 0xFFFF), WindowSpec("mem", 0xC000_0000, 0xCFFF_FFFF),
              WindowSpec("mem", 1 << 40, (1 << 40) + (1 << 34) - 1)]
    topology = build_topology(PciSpec(host_bridges=[HostBridgeSpec(first_bus=0, last_bus=2, windows=ranges)],
                                      functions=functions))
    assign_resources(topology)
    check(topology, True)


def test_what_does_not_fit_stays_unassigned() -> None:
    ranges = [WindowSpec("mem", 0xC000_0000, 0xC00F_FFFF)]
    functions = [PciFunctionSpec(bdf="00:01.0", bars=[BarSpec(0, "mem32", 1 << 24)]),
                 PciFunctionSpec(bdf="00:02.0", bars=[BarSpec(0, "mem32", 1 << 12)])]
    topology = build_topology(PciSpec(host_bridges=[HostBridgeSpec(first_bus=0, last_bus=0, windows=ranges)],
                                      functions=functions))
    assign_resources(topology)
    assert [function.config.read(0x10, 4) for function in topology.functions()] == [0, 0xC000_0000]


def test_captured_functions_are_left_alone() -> None:
    raw = bytearray(256)
    raw[0:2], raw[0x10:0x14] = b"\x86\x80", b"\x00\x00\xc0\xfe"
    spec = PciSpec(functions=[PciFunctionSpec(bdf="00:00.0", raw=bytes(raw), bars=[BarSpec(0, "mem32", 4096)])])
    topology = build_topology(spec)
    assign_resources(topology)
    assert next(topology.functions()).config.data == raw
