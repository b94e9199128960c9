from __future__ import annotations

import numpy as np

from minikern.mm.page import struct_page as sp


def test_layout_is_linux_s() -> None:
    offsets = {"flags": 0, "lru_next": 8, "lru_prev": 16, "mapping": 24, "index": 32, "private": 40}
    offsets |= {"mapcount": 48, "refcount": 52, "memcg_data": 56}
    assert sp.STRUCT_PAGE.itemsize == 64
    assert {name: sp.STRUCT_PAGE.fields[name][1] for name in sp.STRUCT_PAGE.names} == offsets
    assert sp.PAGES_PER_MEMMAP_PAGE == 64


def test_words_and_fields_are_the_same_memory() -> None:
    words = np.zeros((3, 8), dtype=np.uint64)
    pages = sp.as_pages(words)
    pages[1]["refcount"] = 7
    pages[1]["mapcount"] = -1
    assert words[1, sp.W_COUNTS] == sp.counts_word(-1, 7) == 0x00000007FFFFFFFF
    words[2, sp.W_PRIVATE] = 10
    assert pages[2]["private"] == 10


def test_layout_table_names_every_field() -> None:
    table = sp.format_layout()
    assert len(table.splitlines()) == 1 + len(sp.FIELDS)
    assert "0x0030    4  mapcount    page_type" in table


def test_page_as_text() -> None:
    page = sp.as_pages(np.zeros((1, 8), dtype=np.uint64))[0]
    page["mapcount"] = -1
    assert sp.format_page(page, 5).startswith("pfn 0x5: flags=0x0 ")
    assert "mapcount=0xffffffff" in sp.format_page(page, 5)


def test_vmemmap_start() -> None:
    assert sp.vmemmap_start(False) == 0xFFFFEA0000000000
    assert sp.vmemmap_start(True) == 0xFFD4000000000000
