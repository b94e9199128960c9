"""One boot as JSON: simulated times only, so the same input gives the same bytes on any host."""

from __future__ import annotations

from hw.units import NS_PER_MS
from minikern.core.cost_table import times_of
from minikern.describe.log_facts import differences
from minikern.lab.bands import boot_bands
from minikern.lab.run import Boot
from minikern.report.json_text import json_text


def unlike_its_log(boot: Boot) -> list[str]:
    """Figures that are not those of the machine's log, by name; none for a variant, which is meant to differ."""
    return [] if boot.variant else differences(boot.spec.told, (line.text for line in boot.kernel.log.lines))


def boot_json(boot: Boot) -> str:
    """Machine, variant, totals, phases, lines and ledger; every time says its unit and the clock it is of."""
    kernel = boot.kernel
    body = {
        "machine": boot.spec.name,
        "variant": boot.variant.name if boot.variant else "",
        "release": kernel.release.name,
        "command_line": kernel.cmdline.text,
        "clock": "simulated",
        "times": times_of(boot.spec.costs),
        "boundary": "first log line with a running clock to 'Run /init'",
        "total_ns": boot.total_ns,
        "residue_ns": kernel.ledger.residue_ns(),
        "phases_ns": dict(sorted(kernel.phase_ns().items())),
        "bands_80_ns": {
            name: [round(band.low_ms * NS_PER_MS), round(band.high_ms * NS_PER_MS)]
            for name, band in sorted(boot_bands(boot).items())
        },
        "startup_ms": _startup_ms(boot),
        "unlike_its_log": unlike_its_log(boot),
        "lines": [{"ts_ns": line.ts_ns, "phase": line.phase, "text": line.text} for line in kernel.log.lines],
        "ledger": [entry._asdict() for entry in kernel.ledger.entries()],
    }
    return json_text(body)


def _startup_ms(boot: Boot) -> dict[str, float]:
    """The whole start's parts as systemd measured them; empty where nobody told."""
    return dict(boot.spec.startup.parts()) if boot.spec.startup is not None else {}
