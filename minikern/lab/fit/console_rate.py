"""What a byte on the serial line cost, by the stamps: ten bits at the word's speed, or what the line really took."""

from __future__ import annotations

from statistics import median

import msgspec

from minikern.describe.case import Case
from minikern.lab.fit.console_words import BITS_PER_BYTE, baud
from minikern.lab.fit.timeline import Timeline

NS_PER_S = 1_000_000_000
FEWEST = 20  # lines that must have waited for the wire
LOWEST, HIGHEST = 0.5, 1.7  # of ten bits' time, for a line that went out while its writer waited
SHARE = 0.25  # of the lines; else something is in between that buffers
LINE_BYTES = 30  # shorter ones are blurred by what was done between them


def nominal_ns(found: Timeline) -> float:
    """Ten bits at the speed the command line asks for, ns a byte."""
    return BITS_PER_BYTE * NS_PER_S / baud(found.command_line)


def byte_ns(found: Timeline) -> float:
    """Ns a byte of the lines that went out at once; 0 where stamps show that nobody waited for them."""
    nominal = nominal_ns(found)
    steps = [step for step in found.steps[found.start :] if step.gap_ns is not None and step.bytes_before >= LINE_BYTES]
    rates = [step.gap_ns / step.bytes_before for step in steps if step.gap_ns]
    waited = [rate for rate in rates if LOWEST * nominal <= rate <= HIGHEST * nominal]
    if len(waited) < FEWEST or len(waited) < SHARE * len(rates):
        return 0.0
    return median(waited)


def unpaced(spec: Case) -> Case:
    """``spec`` with serial ports that take bytes at once: what the line took stands in the log."""
    return msgspec.structs.replace(spec, uarts=[msgspec.structs.replace(uart, paced=False) for uart in spec.uarts])
