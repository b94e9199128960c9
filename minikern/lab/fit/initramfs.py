"""Unpacking the initramfs: two lines of one worker are its two ends, and the main thread may sleep for it."""

from __future__ import annotations

import re

from minikern.lab.fit.solve import Estimate
from minikern.lab.fit.timeline import Step, Timeline

_BEGIN = re.compile(r"Trying to unpack rootfs image|Unpacking initramfs")
_END = re.compile(r"Freeing initrd memory")
_WAITED = re.compile(r"Freeing unused ")  # Source: init/main.c:kernel_init() @ v6.12
KIND = "initramfs_byte"
SPREAD = 0.05  # of the logarithm: what else the machine did meanwhile
LEAST_WAIT_NS = 2_000_000
SOON = 0.15  # of its sleep, within which a thread that was waiting goes on


def unpack_factor(found: Timeline, emulated_ns: int) -> Estimate | None:
    """How long unpacking took, over ``emulated_ns`` for all its bytes; None where an end is missing."""
    begin = next((step.at_ns for step in found.steps if _BEGIN.match(step.text)), None)
    end = next((step.at_ns for step in found.steps if _END.match(step.text)), None)
    if begin is None or end is None or end <= begin or emulated_ns <= 0:
        return None
    return Estimate((end - begin) / emulated_ns, SPREAD, True, 1)


def sleeper(found: Timeline) -> tuple[Step, int] | None:
    """The main thread's line before which it slept until the worker was done, and for how long, ns.

    It slept if it was silent while the worker ended and wrote its next line right after that, or if that line is the
    one kernel_init() writes once it has waited for the initramfs.
    """
    if not found.async_initramfs:
        return None
    end = next((step.at_ns for step in found.steps if _END.match(step.text)), None)
    if end is None:
        return None
    for step in found.steps[found.start :]:
        if step.main and step.gap_ns is not None and step.at_ns is not None and step.at_ns >= end:
            slept = end - (step.at_ns - step.gap_ns)
            waited = step.at_ns - end <= SOON * slept or _WAITED.match(step.text)
            return (step, slept) if slept >= LEAST_WAIT_NS and waited else None
    return None
