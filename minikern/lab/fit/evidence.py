"""What stamps show of a kernel: steps that a boot of it would take, and for which there was no time."""

from __future__ import annotations

import re

import msgspec

from minikern.core.kernel_facts import KernelFacts
from minikern.describe.case import Case
from minikern.lab.fit.rows import Matched, Row

CALIBRATION, TSC_TEST = "delay_calibration_ns", "tsc_sync_ms"
_UP = re.compile(r"(?:smp: |x86: )?Brought up ")
_LPJ = re.compile(r"Calibrating delay.*\(lpj=(\d{1,12})\)")


def with_evidence(spec: Case, matched: Matched) -> Case:
    """``spec`` itself, or without the delay calibration and the TSC tests that bringing CPUs up had no time for."""
    row = _bringup(matched)
    if row is None:
        return spec
    # CPUs are tested one after the other, and a test takes as long as it takes: there was time for all, or for none.
    calibrated, tested = row.work.get(CALIBRATION, 0.0), matched.kernel.ledger.total_ns(TSC_TEST)
    facts = spec.kernel or KernelFacts()
    changes: dict[str, object] = {}
    lpj = next((int(found[1]) for step in matched.timeline.steps if (found := _LPJ.match(step.text))), 0)
    if calibrated and lpj and calibrated + tested > row.real_ns:
        changes["preset_lpj"] = lpj
    if tested and tested > row.real_ns:
        changes["tsc_reliable"] = True
    return msgspec.structs.replace(spec, kernel=msgspec.structs.replace(facts, **changes)) if changes else spec


def _bringup(matched: Matched) -> Row | None:
    lines = matched.kernel.log.lines
    return next((row for row in matched.rows if _UP.match(lines[row.line].text)), None)


def same_bringup(spec: Case, fitted: Case) -> Case:
    """``spec`` with what another boot of the machine showed of how its CPUs come up."""
    if fitted.kernel is None:
        return spec
    facts = spec.kernel or KernelFacts()
    lpj, reliable = facts.preset_lpj or fitted.kernel.preset_lpj, facts.tsc_reliable or fitted.kernel.tsc_reliable
    return msgspec.structs.replace(
        spec, kernel=msgspec.structs.replace(facts, preset_lpj=lpj, tsc_reliable=reliable)
    )
