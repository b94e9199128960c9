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
}
