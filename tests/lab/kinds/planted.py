"""Mistakes to plant into the right function of each kind: what is changed in its text, and into what."""

from __future__ import annotations

PLANTED: dict[str, list[tuple[str, str]]] = {
    "bring-up": [
        ("firsts + siblings", "siblings + firsts"),
        ("firsts + siblings", "sorted(firsts + siblings)"),
        ("firsts + siblings", "firsts"),
        ("limit - 1", "limit"),
        ("thread == 0 and number != 0", "thread == 0"),
        ("firsts + siblings", "firsts + firsts + siblings"),
    ],
    "digest": [
        ("state.update(bytes(in_memory - held))", "pass"),
        ("at += held", "at += in_memory"),
        ("hashlib.sha256()", "hashlib.sha3_256()"),
        ("return state.digest()", "return state.digest()[::-1]"),
        ("in sizes:", "in sizes[:1]:"),
        ("at + held]", "at + min(held, 65535)]"),
    ],
    "hvo": [
        ("min(at, kept - 1)", "0"),
        ("huge * frames + ", ""),
        (" if fake_heads or reserved > 1 else 2", ""),
        ("min(at, kept - 1)", "at // 2"),
        ("huge * frames", "huge * 8"),
        ("for at in range(frames)", "for at in range(1, frames)"),
    ],
    "memblock": [
        ("[(b - size) // align * align for", "[b - size for"),
        ("max(places", "min(places"),
        (" if nid in (-1, node)", ""),
        ("min(b, end)", "b"),
        ("+ size <= b", "+ size < b"),
        ("reserved.tolist()", "reserved.tolist()[:1]"),
    ],
    "zone-fallback": [
        ("range(highest, -1, -1)", "range(highest + 1)"),
        ("range(highest, -1, -1)", "range(3, -1, -1)"),
        ("away[node] = 0", "pass"),
        (" if pages[nid][zone]", ""),
        ("away[nid])", "abs(nid - node))"),
        ("distances[node]", "distances[:, node]"),
    ],
    "deferred-split": [
        (" and stop % 1024 == 0", ""),
        ("            start = stop", "            start = stop + 1"),
        ("max(32768, ", "max(400000, "),
        ("[*chunks, (begin, last + 1)]", "chunks"),
        ("(begin, last + 1)]", "(begin, last)]"),
        (" and last // 1024 < start // 1024", ""),
    ],
    "free-merge": [
        ("order < 10", "order < 9"),
        (" or max(pfn, buddy) in cuts", ""),
        ("free.get(buddy) != order", "buddy not in free"),
        ("del free[buddy]", "pass"),
        ("pfn ^ (1 << order)", "pfn + (1 << order)"),
        ("pfn = min(pfn, buddy)", "pass"),
    ],
}
