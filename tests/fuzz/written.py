"""Files that people write or edit: unit costs, variants, releases, guests, plans of sweeps, results, algorithms."""

from __future__ import annotations

import copy
import tomllib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import tomli_w

from hw.errors import InputError
from hw.toml_file import decode_toml
from minikern.core.cost_table import default_costs, load_costs
from minikern.core.costs import Cost
from minikern.core.release import ReleaseFile, load_release
from minikern.core.variant import Variant, load_variant, load_variants
from minikern.lab.algorithms import load_algorithms
from minikern.lab.kinds.registry import BY_HOOK
from minikern.lab.kinds.template import template
from minikern.lab.sweep.plan import METRICS, Plan, grid
from minikern.lab.sweep.summary import summarise
from minikern.report.sweep_results import read_results
from minikern.report.sweep_store import column
from minikern.report.sweep_summary import summary_sheets
from tests.fuzz.machines import SHAPED, changed_fields, toml_text, value_of
from tests.fuzz.mutations import REALS, SIZES, WORDS, damaged, edge_number, edited, one_in, text_of

FOLDER = Path(__file__).parents[2] / "minikern"

# unit costs, variants, releases


def costs(chance: Random) -> bytes:
    """A file of unit costs: kinds there are, one or another that there is not, fields of other kinds."""
    kinds = sorted(default_costs())
    tree: dict[str, Any] = {}
    for _ in range(chance.randint(1, 4)):
        kind = chance.choice(kinds) if chance.randrange(12) else chance.choice(("x", "", "costs"))
        tree[kind] = {"ns": chance.uniform(0, 1e4), "source": "measured"}
        if one_in(chance, 3):
            path, of = chance.choice(_cost_fields())
            tree[kind][path] = value_of(chance, of)
    return toml_text(chance, tree)


@cache
def _cost_fields() -> tuple[tuple[str, Any], ...]:
    info = msgspec.inspect.type_info(Cost)
    assert isinstance(info, msgspec.inspect.StructType)
    return tuple((field.encode_name, field.type) for field in info.fields)


def _written(place: Path, name: str, data: bytes) -> Path:
    path = place / name
    path.write_bytes(data)
    return path


def read_costs(place: Path, data: bytes) -> None:
    """As --costs reads it."""
    load_costs(_written(place, "costs.toml", data))


@cache
def _files(kind: str) -> tuple[dict[str, Any], ...]:
    return tuple(tomllib.loads(path.read_text()) for path in sorted((FOLDER / kind).glob("*.toml")))


def variant(chance: Random) -> bytes:
    """One of the variants with other fields, options and behaviours."""
    tree = {**copy.deepcopy(chance.choice(_files("variants"))), "name": "mine"}
    changed_fields(chance, tree, Variant, 1)
    if one_in(chance, 3):
        table = chance.choice(("config", "behaviour"))
        name, value = chance.choice(sorted(_known(table).items()))
        tree.setdefault(table, {})[name] = chance.choice((value, value, edge_number(chance), chance.choice(WORDS)))
    return toml_text(chance, tree)


@cache
def _known(table: str) -> dict[str, Any]:
    return {name: value for tree in (*_files("variants"), *_files("releases"))
            for name, value in tree.get(table, {}).items()}  # fmt: skip


def read_variant(place: Path, data: bytes) -> None:
    """As --variant reads it."""
    load_variant(str(_written(place, "mine.toml", data)))


def release(chance: Random) -> bytes:
    """One of the releases with other fields."""
    tree = {**copy.deepcopy(chance.choice(_files("releases"))), "name": "mine"}
    changed_fields(chance, tree, ReleaseFile, 1)
    if one_in(chance, 3) and tree.get("image"):
        tree["image"][chance.choice(sorted(tree["image"]))] = edge_number(chance)
    if one_in(chance, 4):
        tree["version"] = chance.choice(("6.12", "7.2.1", "4.15.0-x", "0", "99999999.1", "6", "6.12.²"))
    return toml_text(chance, tree)


def read_release(place: Path, data: bytes) -> None:
    """As --kernel reads it."""
    load_release(str(_written(place, "mine.toml", data)))


# sweeps

PLAN: dict[str, Any] = {
    "machines": ["tiny", "laptop"], "variants": ["as-is", "deferred"], "kernels": ["debian-6.12"],
    "words": ["", "nosmp"], "vary": {"memory": ["256M", "1G"], "costs.struct_page_init": "1..100:lin:5"},
    "draws": 3, "seed": 1, "metrics": ["total"],
}  # fmt: skip
RANGES = ("1..5:lin:3", "1..0:lin:4", "0..1e308:log:9", "..", "1..999:log:1000000", "*", "/proc/*", "~", "/dev/zero")


@cache
def _variants() -> tuple[str, ...]:
    return ("as-is", *load_variants())


def _in_place(chance: Random, name: str) -> object:
    """A value that a field of a plan may have."""
    match name:
        case "machines":
            return chance.sample(("tiny", "laptop", "lpc2023", "skylake-112"), chance.randint(1, 3))
        case "variants":
            return chance.sample(_variants(), chance.randint(0, 4))
        case "kernels":
            return chance.sample(("debian-6.12", "debian-6.1", "linux-5.4", "kho-7.2"), chance.randint(0, 3))
        case "words":
            return chance.sample(("", "nosmp", "quiet", "maxcpus=1"), chance.randint(0, 3))
        case "metrics":
            return chance.sample(METRICS, chance.randint(0, 4))
        case "vary":
            name, _, values = chance.choice(SHAPED["vary"]).partition("=")
            return {name: values}
    return chance.randrange(1000)


def plan(chance: Random) -> bytes:
    """A sweep's plan with other fields, every third with one that is wrong; at times damaged as text."""
    tree = copy.deepcopy(PLAN)
    for _ in range(chance.randint(1, 4)):
        name = chance.choice(sorted(tree))
        tree[name] = _in_place(chance, name)
    if one_in(chance, 3):
        name = chance.choice(sorted(tree))
        value = chance.choice((chance.choice(WORDS), chance.choice(SIZES), edge_number(chance), chance.choice(RANGES),
                               chance.choice(REALS)))  # fmt: skip
        if isinstance(tree[name], list):
            tree[name] = chance.choice(([value], [*tree[name], value], value))
        elif isinstance(tree[name], dict):
            key = chance.choice((*tree[name], "cpus", "nodes", "x", "costs.struct_page_free", "costs."))
            tree[name][key] = chance.choice((value, [value], [value, value]))
        else:
            tree[name] = value
    data = tomli_w.dumps(tree).encode("utf-8", "replace")
    return damaged(chance, data) if one_in(chance, 12) else data


def read_plan(place: Path, data: bytes) -> None:
    """Written out, and some of its rows."""
    table = grid(decode_toml(data, Plan, "plan.toml"), place)
    for row in {0, len(table) // 2, len(table) - 1}:
        msgspec.json.encode(table.point(row))
    assert table.digest()


RESULT_HEAD = ("row", "machine", "kernel", "variant", "words", "draw", "memory", *map(column, METRICS), "total_low_ns",
               "total_high_ns", "counts", "doubt_ns", "inputs_sha256", "versions", "error")  # fmt: skip


def results(chance: Random) -> bytes:
    """What a sweep leaves as CSV: cells changed, lost and exchanged."""
    rows = [",".join(RESULT_HEAD)]
    for row in range(chance.choice((0, 1, 8, 8, 20))):
        total = chance.randrange(10**9)
        times = [total, *(chance.randrange(total + 1) for _ in METRICS[1:])]
        cells = [row, ("tiny", "laptop")[row % 2], "", ("as-is", "deferred")[row // 2 % 2], "", "", 1 << 30, *times,
                 total * 9 // 10, total * 11 // 10, "{}", "{}", "ab", "1", ""]  # fmt: skip
        for _ in range(chance.choice((0, 0, 0, 1, 2))):
            other = (edge_number(chance), chance.choice(REALS), chance.choice(WORDS[:8]))
            cells[chance.randrange(len(cells))] = chance.choice(("", "x", '"', "-1", total, *other))
        rows.append(",".join(map(str, cells)))
    return text_of(edited(chance, rows, 2, 1) if one_in(chance, 4) else rows)


def show_results(place: Path, data: bytes) -> None:
    """As ``sweep show`` sums them up."""
    path = _written(place, "fleet.csv", data)
    summary_sheets(summarise(read_results(path).to_pydict(), 12.0))


# algorithms


def algorithm_file(chance: Random) -> bytes:
    """A right algorithm of some kind with lines lost, doubled and exchanged, arguments and names changed."""
    lines = template(chance.choice(tuple(BY_HOOK.values()))).splitlines()
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(len(lines))
        what = chance.randrange(8)
        if what < 3:
            lines[at] = lines[at].replace(*chance.choice((("(", ", x("), (")", ""), ("def ", "class "), ("import ", ""),
                                                          ('("', '(b"'), ("@", "# @"), (":", "")))) # fmt: skip
        elif what < 5:
            del lines[at]
            lines = lines or [""]
        elif what < 7:
            lines[at:at] = [chance.choice(("x = 1 / 0", "import nothing", "raise SystemExit(3)", "\x00", "\tx", "²"))]
        else:
            lines[at] = lines[at][: chance.randint(0, 40)]
    return text_of(lines)


def read_algorithms(place: Path, data: bytes) -> None:
    """As ``check`` loads it, up to the first call."""
    path = _written(place, "mine.py", data)
    if not load_algorithms(str(path)):
        raise InputError("no algorithm")
