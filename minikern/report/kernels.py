"""Kernels and variants as text, as files of one's own, and what changed between kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import tomli_w
from rich.table import Table
from rich.text import Text

from minikern.core.behaviour import sentences
from minikern.core.forks import Fork, Value, load_forks
from minikern.core.release import Release
from minikern.core.variant import Variant
from minikern.core.version import parse_version

COMMENT_WIDTH = 80


def origins(release: Release) -> dict[str, str]:
    """Where each behaviour of a release comes from: the version it forked in, "file", or empty if it never did."""
    version = parse_version(release.version)
    found = dict.fromkeys(release.behaviour.__struct_fields__, "")
    found |= {fork.field: fork.since for fork in load_forks() if fork.holds(version)}
    return found | dict.fromkeys(release.changes, "file")


def release_toml(release: Release) -> str:
    """A release as a file that boots as one's own; what follows from its version stands in comments."""
    image = msgspec.structs.asdict(release.image)
    body: dict[str, Any] = {"title": release.title, "version": release.version, "banner": release.banner}
    body |= {"parameters": release.parameters} if release.parameters else {}
    body |= {"config": release.config, "image": image}
    body |= {"behaviour": dict(release.changes)} if release.changes else {}
    origin = origins(release)
    lines = [f"\n# These behaviours follow from version {release.version} (see `minikern kernel forks`):\n"]
    for field, text in sentences().items():
        if field not in release.changes:
            since = f"  # since {origin[field]}" if origin[field] else ""
            lines.append(f"# {field} = {toml_value(getattr(release.behaviour, field))}{since}\n#     {text}\n")
    return tomli_w.dumps(body) + "".join(lines)


def release_json(release: Release) -> dict[str, Any]:
    """A release with its behaviours, each with its origin and its sentence."""
    origin, text = origins(release), sentences()
    behaviour = {
        field: {"value": getattr(release.behaviour, field), "since": origin[field], "says": text[field]}
        for field in release.behaviour.__struct_fields__
    }
    return {
        "name": release.name,
        "title": release.title,
        "version": release.version,
        "banner": release.banner,
        "match": release.match,
        "parameters": release.parameters,
        "config": release.config,
        "image": msgspec.to_builtins(release.image),
        "behaviour": behaviour,
    }


def variant_toml(variant: Variant) -> str:
    """A variant, with all that it extends, as a file that boots as one's own."""
    plain, left_out = msgspec.to_builtins(Variant()), ("name", "extends", "order")
    tree = msgspec.to_builtins(variant)
    return tomli_w.dumps({key: value for key, value in tree.items() if value != plain[key] and key not in left_out})


def toml_value(value: Value) -> str:
    """A value as TOML writes it; page types in hexadecimal digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value < 1 << 16 else hex(value)
    return f'"{value}"'


def source_of(fork: Fork) -> str:
    """The commit of a row, as it is cited."""
    return " ".join(part for part in (fork.hash, f'"{fork.commit}"', f"({fork.date})" if fork.date else "") if part)


def forks_table(forks: Sequence[Fork]) -> Table:
    """Rows as a table that is read from top to bottom, as wide as the terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    table.add_column("since", no_wrap=True)
    table.add_column("behaviour", ratio=1)
    table.add_column("commit", ratio=1)
    for fork in forks:
        says = Text(fork.field, "bold").append(f": {toml_value(fork.old)} -> {toml_value(fork.new)}", "not bold")
        says.append(f"\n{sentences()[fork.field]}", "not bold")
        cited = source_of(fork) + (f"\nand in {', '.join(fork.stable)}" if fork.stable else "")
        table.add_row(fork.since, says, Text(cited + (f"\n{fork.note}" if fork.note else "")))
    return table


def forks_markdown(forks: Sequence[Fork]) -> str:
    """The same as a Markdown table."""
    lines = ["| since | behaviour | before | after | what it means | commit |", "|---|---|---|---|---|---|"]
    for fork in forks:
        cells = [fork.since, f"`{fork.field}`", f"`{toml_value(fork.old)}`", f"`{toml_value(fork.new)}`",
                 sentences()[fork.field], source_of(fork)]  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
