"""Stores past the cache: one full line a page, so nothing is read from memory and no cached line is lost.

The stores are LLVM's own with the nontemporal mark, so every target gets the widest it has (AVX-512, AVX2, SSE2,
AArch64) and an ordinary store where there is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minikern.host.jit import Intrinsic, jit
from minikern.mm.page.struct_page import Words


def _codegen_rows(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    # The whole loop: one vector holds the row, adding another one makes the next row.
    from llvmlite import ir  # here and below: only who compiles needs it

    vector, number = ir.VectorType(ir.IntType(64), 8), args[1].type
    first = _vector(builder, vector, list(enumerate(args[3:11])), ir.Constant(vector, ir.Undefined))
    step = _vector(builder, vector, [(1, args[11]), (2, args[12])], ir.Constant(vector, None))
    data = builder.bitcast(context.make_array(signature.args[0])(context, builder, args[0]).data, vector.as_pointer())
    start, end = args[1], args[2]
    before = builder.block
    loop, done = builder.append_basic_block("row"), builder.append_basic_block("rows_done")
    builder.cbranch(builder.icmp_signed("<", start, end), loop, done)
    builder.position_at_end(loop)
    index, row = builder.phi(number), builder.phi(vector)
    store = builder.store(row, builder.gep(data, [index]), align=64)
    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
    following, next_row = builder.add(index, ir.Constant(number, 1)), builder.add(row, step)
    builder.cbranch(builder.icmp_signed("<", following, end), loop, done)
    for phi, entry, again in ((index, start, following), (row, first, next_row)):
        phi.add_incoming(entry, before)
        phi.add_incoming(again, loop)
    builder.position_at_end(done)
    return context.get_dummy_value()


def _vector(builder: Any, vector: Any, lanes: list[tuple[int, Any]], value: Any) -> Any:
    from llvmlite import ir

    for lane, word in lanes:
        value = builder.insert_element(value, word, ir.Constant(ir.IntType(32), lane))
    return value


def _type_rows(
    _typing: Any, words: Any, start: Any, end: Any,
    w0: Any, w1: Any, w2: Any, w3: Any, w4: Any, w5: Any, w6: Any, w7: Any, next_step: Any, prev_step: Any,
) -> Any:  # fmt: skip
    import numba

    return numba.types.void(words, *[numba.types.intp] * 2, *[numba.types.uint64] * 10), _codegen_rows


def _codegen_fence(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
    builder.fence("seq_cst")  # stores that bypass the cache are not ordered by themselves
    return context.get_dummy_value()


def _type_fence(_typing: Any) -> Any:
    import numba

    return numba.types.void(), _codegen_fence


_store_rows: Any = Intrinsic(_type_rows)
"""Rows [start, end) from the eight words of the first; word 1 and 2 grow by a step. Rows must be 64-byte aligned."""
_store_fence: Any = Intrinsic(_type_fence)


@jit
def stream(
    words: Words,
    flags: np.uint64,
    nxt: np.uint64,
    step: np.uint64,
    prev: np.uint64,
    mapping: np.uint64,
    counts: np.uint64,
) -> None:
    """Store pages of one kind; lru.next grows by ``step`` from page to page, lru.prev by 64."""
    zero, size = np.uint64(0), np.uint64(64)
    _store_rows(words, 0, words.shape[0], flags, nxt, prev, mapping, zero, zero, counts, zero, step, size)
    _store_fence()


@jit
def stream_free_blocks(
    words: Words, flags: np.uint64, lru: np.uint64, first: int, step: int, order: np.uint64, head: np.uint64
) -> None:
    """Store free pages, those at rows ``first``, ``first + step``, ... as heads of free blocks.

    ``head`` is word 6 of a head, whose private word is ``order``. A ``first`` beyond the last row makes no head.
    """
    zero, size, counts = np.uint64(0), np.uint64(64), np.uint64(0xFFFFFFFF)
    n = words.shape[0]
    at, following = 0, first
    while at < n:
        if at == following:
            _store_rows(words, at, at + 1, flags, lru, lru, zero, zero, order, head, zero, size, size)
            at += 1
            lru += size
            following += step
        end = min(n, following)
        _store_rows(words, at, end, flags, lru, lru, zero, zero, zero, counts, zero, size, size)
        lru += size * np.uint64(end - at)
        at = end
    _store_fence()


@jit
def stream_fill(words: Words, value: np.uint64) -> None:
    """Every word becomes ``value``: what the memory can take when nothing has to be computed."""
    zero = np.uint64(0)
    _store_rows(words, 0, words.shape[0], value, value, value, value, value, value, value, value, zero, zero)
    _store_fence()
