"""Times of day before a log's lines, as syslog, the journal and ``dmesg -T`` put them, taken for the kernel's stamps.

A logger that starts late reads all that the kernel had written before at once: such times say how fast it read. Whole
seconds say something only of the lines at which a new one begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hw.errors import InputError

NS_PER_S = 1_000_000_000
DAY_S = 86_400
FEWEST_SECONDS = 20  # that begin within a boot, to know it by
READ_NS = 50_000  # a line on average: loggers read faster, kernels boot slower

_TIME = re.compile(r"(?<![\d:])(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?![\d:])")
_EPOCH = re.compile(r"^(\d{9,10})\.(\d{6}) ")  # journalctl -o short-unix


def wall_times(prefixes: Sequence[str]) -> list[int | None] | None:
    """Ns since the first line that has a time, line by line; None where there are no times to go by.

    Of whole seconds only the first line of each new one has a time. InputError: times at which the lines were read.
    """
    told = [_of_day(prefix) for prefix in prefixes]
    known = [time for time in told if time is not None]
    if len(known) < 2 or len(known) * 2 < len(told):
        return None
    first, _ = known[0]
    whole = not any(fine for _, fine in known)
    found: list[int | None] = []
    last, days, latest = first, 0, -1
    for time in told:
        if time is None:
            found.append(None)
            continue
        if time[0] < last - DAY_S * NS_PER_S // 2:
            days += 1
        last = time[0]
        at = days * DAY_S * NS_PER_S + time[0] - first
        found.append(at if at > latest or not whole else None)
        latest = max(latest, at)
    _refuse(found, len(known), whole)
    return found


def _of_day(prefix: str) -> tuple[int, bool] | None:
    """Ns since midnight, and whether there were parts of a second; None where no time is told."""
    if epoch := _EPOCH.match(prefix):
        return int(epoch[1]) % DAY_S * NS_PER_S + int(epoch[2]) * 1000, True
    match = _TIME.search(prefix)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59 or int(match[3]) > 60:
        return None
    seconds = (int(match[1]) * 60 + int(match[2])) * 60 + int(match[3])
    return seconds * NS_PER_S + int(((match[4] or "") + "0" * 9)[:9]), match[4] is not None


def _refuse(found: Sequence[int | None], lines: int, whole: bool) -> None:
    times = [at for at in found if at is not None]
    if whole and len(times) < FEWEST_SECONDS:
        raise InputError(f"its times are whole seconds, of which {len(times)} begin: too coarse to go by")
    if not whole and max(times) < lines * READ_NS:
        raise InputError(f"its {lines} lines have times within {max(times) / 1e6:.1f} ms: when they were read")
