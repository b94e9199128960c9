"""What lines of a boot log usually cost: the time that no counted work explains, by what the line says.

A table made by ``bench/predict`` from real boots: for each line, as a mask, what most machines that wrote it stay
below; for lines that hardly anybody wrote, what lines that begin alike cost. One that only one machine wrote is in no
table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

PREFIX_LENGTH, WORD_LENGTH = 32, 20
LINE, PREFIX, WORD, ANY = "line", "prefix", "word", "any"
DEBUG = re.compile(r"calling \S+ @ |initcall \S+ returned |probe of \S+ returned ")
FILE = "line_prices.tsv"


@dataclass(frozen=True)
class LinePrice:
    """Usual ns over ``machines`` machines, and for families that differ."""

    ns: float
    machines: int
    families: dict[str, float] = field(default_factory=dict)

    def of(self, family: str) -> float:
        """Ns on a machine of ``family``."""
        return self.families.get(family, self.ns)


def prefix(mask: str) -> str:
    """Who speaks, by a line's mask."""
    return mask.split(":")[0][:PREFIX_LENGTH]


def word(mask: str) -> str:
    """The first word of a mask."""
    return mask.split(" ")[0][:WORD_LENGTH]


@dataclass
class LinePrices:
    """Prices by (kind of key, key)."""

    table: dict[tuple[str, str], LinePrice]

    def price_ns(self, mask: str, family: str) -> float:
        """What the line is expected to take, by the nearest key that is known.

        A line of initcall_debug that is not known itself costs nothing: it only cuts what takes place into pieces.
        """
        if DEBUG.match(mask) and (LINE, mask) not in self.table:
            return 0.0
        for key in ((LINE, mask), (PREFIX, prefix(mask)), (WORD, word(mask)), (ANY, "")):
            if key in self.table:
                return self.table[key].of(family)
        return 0.0

    def text(self) -> str:
        """The table as it is kept: kind, ns, machines, families, key; one a line."""
        return "".join(
            f"{kind}\t{price.ns:.4g}\t{price.machines}\t{_families(price.families)}\t{key}\n"
            for (kind, key), price in sorted(self.table.items())
        )


def _families(families: dict[str, float]) -> str:
    return ",".join(f"{name}={ns:.4g}" for name, ns in sorted(families.items()))


def parse(lines: Iterable[str]) -> LinePrices:
    """The table from its text."""
    table = {}
    for line in lines:
        kind, ns, machines, families, key = line.rstrip("\n").split("\t", 4)
        own = dict(item.split("=") for item in families.split(",") if item)
        table[kind, key] = LinePrice(float(ns), int(machines), {name: float(value) for name, value in own.items()})
    return LinePrices(table)


@lru_cache(maxsize=1)
def load_line_prices() -> LinePrices:
    """The table that comes with minikern."""
    text = resources.files("minikern.lab.fit").joinpath(FILE).read_text(encoding="utf-8")
    return parse(text.splitlines())
