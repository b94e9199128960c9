"""A digest: SHA-256 over the segments of a loaded kernel, as the purgatory checks it. The judge is hashlib.

Source: arch/x86/purgatory/purgatory.c:verify_sha256_digest(), kernel/kexec_file.c:kexec_calculate_store_digests()
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minikern.lab.kinds.kind import Attempt, Function, Hook, Kind, Load, Wrong, listed, table, whole

NAME = "kexec_digest"
BLOCK, DIGEST_BYTES = 64, 32  # Source: FIPS 180-4, 5.2.1 and 6.2
LENGTH_BYTES = 8
LARGEST = 70_000  # bytes of the largest hand-picked input
SHOWN_BYTES = 16


@dataclass(frozen=True)
class Segments:
    """The segments: what the file holds of each, and how many bytes it fills in memory."""

    name: str
    segments: tuple[tuple[bytes, int], ...]

    @property
    def size(self) -> int:
        """Bytes in memory, and the segments."""
        return sum(memsz for _, memsz in self.segments) + len(self.segments)

    @property
    def message(self) -> bytes:
        """All bytes in memory."""
        return b"".join(data.ljust(memsz, b"\0") for data, memsz in self.segments)

    def describe(self) -> str:
        """One line."""
        told = ", ".join(f"{len(data)} bytes in {memsz}" for data, memsz in self.segments[:6])
        more = f" and {len(self.segments) - 6} more" if len(self.segments) > 6 else ""
        return f"{self.name}: {told or 'no segment'}{more}"

    def arguments(self) -> tuple[Any, Any]:
        """What the function is called with."""
        data = np.frombuffer(b"".join(data for data, _ in self.segments), dtype=np.uint8).copy()
        sizes = [(len(data), memsz) for data, memsz in self.segments]
        return data, table(sizes, 2)


def first_wrong(case: Segments, attempt: Attempt) -> Wrong | None:
    """The first wrong bit of the digest."""
    expected = f"{DIGEST_BYTES} bytes"

    def read(value: Any) -> bytes:
        if isinstance(value, (bytes, bytearray)):
            return bytes(value)
        items = [whole(NAME, item, expected) for item in listed(NAME, value, DIGEST_BYTES, expected)]
        return bytes(item & 0xFF for item in items)

    found: bytes = attempt.call(case.describe(), case.arguments(), read)
    wanted = hashlib.sha256(case.message).digest()
    attempt.tally(len(case.message))
    if found == wanted:
        return None
    if len(found) != len(wanted):
        return Wrong(case, "", 0, "digest", f"{len(wanted)} bytes", f"{len(found)} or more")
    wrong = [bit for bit in range(8 * DIGEST_BYTES) if (found[bit // 8] ^ wanted[bit // 8]) >> (7 - bit % 8) & 1]
    return Wrong(case, "bit", wrong[0], "digest", wanted.hex(), found.hex(), _picture(case, found, len(wrong)))


def _picture(case: Segments, found: bytes, wrong: int) -> tuple[str, ...]:
    """How the message lies in blocks, where it ends, and what the digest found is the digest of."""
    lines, at = [], 0
    for number, (data, memsz) in enumerate(case.segments[:4]):
        head = data[:SHOWN_BYTES].hex(" ") + (" ..." if len(data) > SHOWN_BYTES else "")
        lines.append(f"segment {number} at byte {at}: {head or 'nothing'}; {memsz - len(data)} zeros follow")
        at += memsz
    length = len(case.message)
    last = length % BLOCK
    blocks = -(-(length + 1 + LENGTH_BYTES) // BLOCK)
    lines.append(f"message: {length} bytes, {length // BLOCK} whole blocks of {BLOCK} and {last} bytes;")
    lines.append(f"  with the 1 bit, zeros and the length ({8 * length:#x} bits) it takes {blocks}")
    what = next((what for what, other in _others(case) if other == found), "")
    lines.append(f"{wrong} of 256 bits differ" + (f"; what was found is the digest of {what}" if what else ""))
    return tuple(lines)


def _others(case: Segments) -> Iterator[tuple[str, bytes]]:
    """What goes wrong often, and the digest that it gives."""

    def of(*pieces: bytes) -> bytes:
        return hashlib.sha256(b"".join(pieces)).digest()

    filled = [data.ljust(memsz, b"\0") for data, memsz in case.segments]
    whole_message = case.message
    yield "the files' bytes without the zeros after them", of(*(data for data, _ in case.segments))
    yield "the segments in reverse order", of(*reversed(filled))
    yield "nothing at all", of()
    yield "the whole blocks only", of(whole_message[: len(whole_message) // BLOCK * BLOCK])
    yield "the bytes in reverse order", of(whole_message[::-1])
    yield "all but the last byte", of(whole_message[:-1])
    yield "the message and one zero more", of(whole_message, b"\0")
    yield "the message filled up to a whole block", of(whole_message, bytes(-len(whole_message) % BLOCK))
    for number in range(len(filled)):
        yield f"all but segment {number}", of(*filled[:number], *filled[number + 1 :])
        yield f"segment {number} alone", of(filled[number])
    words = np.frombuffer(of(whole_message), dtype=">u4")
    yield "the message, its words stored little end first", words.astype("<u4").tobytes()
    yield "the message, its words in reverse order", words[::-1].tobytes()


# inputs


def _bytes(count: int, seed: int = 1) -> bytes:
    return bytes((seed + 37 * at + (at >> 8)) & 0xFF for at in range(count))


def corners() -> list[Segments]:
    """Messages chosen by hand: around the ends of blocks, zeros, several segments."""
    found = [Segments("no segment", ()), Segments("an empty segment", ((b"", 0),))]
    lengths = (1, 2, 3, 31, 32, 54, 55, 56, 57, 62, 63, 64, 65, 119, 120, 127, 128, 129, 1000)
    found += [Segments(f"{count} bytes", ((_bytes(count), count),)) for count in lengths]
    found += [
        Segments("one zero after the file's bytes", ((_bytes(3), 4),)),
        Segments("zeros only", ((b"", 70),)),
        Segments("all bits set", ((b"\xff" * 130, 130),)),
        Segments("two segments", ((_bytes(5), 5), (_bytes(7, 9), 7))),
        Segments("zeros between segments", ((_bytes(60), 64), (_bytes(60, 3), 128), (b"", 10))),
        Segments("an empty segment between others", ((_bytes(9), 9), (b"", 0), (_bytes(9, 5), 9))),
        Segments("a page filled up", ((_bytes(4000), 4096),)),
        Segments("more bits than 16 bits count", ((_bytes(8192), 8192),)),
        Segments("more bits than 19 bits count", ((_bytes(LARGEST), LARGEST),)),
    ]
    return sorted(found, key=lambda case: case.size)


def made_up() -> Any:
    """A few segments of any bytes."""
    from hypothesis import strategies as st

    segment = st.tuples(st.binary(max_size=150), st.integers(0, 80)).map(lambda two: (two[0], len(two[0]) + two[1]))
    return st.lists(segment, max_size=4).map(lambda found: Segments("made up", tuple(found)))


def builtins() -> dict[str, Function]:
    """The kernel rooms' generic code, and this computer's own library."""
    from minikern.kexec.sha256 import sha256_generic

    def pieces(data: Any, sizes: Any) -> Iterator[memoryview]:
        at = 0
        for held, memsz in sizes.tolist():
            yield memoryview(data[at : at + held])
            yield memoryview(bytes(memsz - held))
            at += held

    def generic(data: Any, sizes: Any) -> bytes:
        return sha256_generic(pieces(data, sizes))

    def accelerated(data: Any, sizes: Any) -> bytes:
        state = hashlib.sha256()
        for piece in pieces(data, sizes):
            state.update(piece)
        return state.digest()

    return {"built-in generic": generic, "built-in accelerated": accelerated}


def load(rows: int) -> Load:
    """One segment of so many bytes."""
    data = np.arange(rows, dtype=np.uint32).astype(np.uint8)

    def bind(function: Function, low: int, high: int) -> Callable[[], object]:
        given, sizes = data[low:high], table([(high - low, high - low)], 2)
        return lambda: function(given, sizes)

    return Load(f"{rows} bytes", rows, bind)


KIND = Kind(
    "digest",
    Hook(
        NAME,
        ("data", "sizes"),
        "Return the SHA-256 digest (32 bytes) over all segments as they lie in memory. data are the bytes of all"
        " segments' files, one after the other (uint8); sizes has a row (bytes in data, bytes in memory) for each"
        " segment (int64): what is missing in data is zeros.",
    ),
    "bytes", "message", first_wrong, corners, made_up, builtins, load,
    '''\
    # The standard library's; replace it with your own rounds.
    import hashlib

    state, at = hashlib.sha256(), 0
    for held, in_memory in sizes:
        state.update(data[at : at + held].tobytes())
        state.update(bytes(in_memory - held))
        at += held
    return state.digest()
''',
    ("bytes(in_memory - held)", "b''"),
    row_bytes=1, roofline="read",
)  # fmt: skip
