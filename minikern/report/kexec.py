"""What a chain of kernels took, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hw.units import NS_PER_MS
from minikern.kexec.kaslr import Places
from minikern.kexec.purgatory import LOSES
from minikern.lab.kexec import Rebooted
from minikern.report.json_text import json_text
from minikern.report.tables import Sheet


def downtime_sheet(rounds: Sequence[Rebooted]) -> Sheet:
    """Simulated ms of every part of every hand-over, and their shares of the last one."""
    heads = ["part", *(f"kexec {index}" if len(rounds) > 1 else "ms" for index in range(1, len(rounds) + 1)), "share"]
    sheet = Sheet("Downtime to /init, simulated", heads)
    parts = [done.downtime_ns() for done in rounds]
    total = [sum(part.values()) for part in parts]
    for name in parts[0]:
        share = parts[-1][name] / total[-1] if total[-1] else 0.0
        sheet.rows.append([name, *(f"{part[name] / NS_PER_MS:.1f}" for part in parts), f"{share:.0%}"])
    sheet.rows.append(["total", *(f"{value / NS_PER_MS:.1f}" for value in total), "100%"])
    return sheet


def rounds_json(rounds: Sequence[Rebooted]) -> str:
    """Segments, simulated times and measured host times of every hand-over; each key names its unit and clock."""
    body = [_round(done) for done in rounds]
    return json_text({"kexec": body})


def _round(done: Rebooted) -> dict[str, Any]:
    verified, relocation = done.handover.verified, done.handover.relocation
    return {
        "segments": [
            {"name": s.name, "bufsz_bytes": s.bufsz, "mem": s.mem, "memsz_bytes": s.memsz}
            for s in done.image.kimage.segments
        ],
        "crash": done.image.crash,
        "start": done.image.kimage.start,
        "entry": done.handover.entry,
        "purgatory": done.handover.purgatory,
        "purgatory_gives_up": LOSES[done.handover.purgatory],
        "digest_code": done.handover.digest,
        "relocated_pages": relocation.pages if relocation else 0,
        "digested_bytes": verified.size if verified else 0,
        "sha256": verified.digest.hex() if verified else None,
        "downtime_sim_ns": done.downtime_ns(),
        "handover_host_ns": done.handover.host_ns,
        "kaslr": None if done.places is None else _kaslr(done.places),
    }


def _kaslr(places: Places) -> dict[str, Any]:
    return {
        "loaded_at": places.loaded,
        "places": places.count,
        "areas": [{"first": slots.first, "places": slots.places} for slots in places.slots],
    }
