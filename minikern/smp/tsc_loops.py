"""The two loops of the TSC test, played against each other turn by turn.

Source: arch/x86/kernel/tsc_sync.c:check_tsc_warp() @ v6.12
"""

from __future__ import annotations

from minikern.host.jit import jit

CHECK_MASK = 7  # the end is looked for every 8 turns
TURNS_LIMIT = 10_000_000


@jit
def play_loops(
    source_cycles: int, target_start: int, target_cycles: int, duration_ns: int, handoff_ns: int
) -> tuple[int, int, int, int]:
    """(largest warp, warps, random warps, largest warp known when the target last saw one), cycles.

    Both CPUs queue for one lock, so they read in turns, ``handoff_ns`` apart. The source's counter goes from 0 to
    ``source_cycles`` in ``duration_ns``, the target's from ``target_start`` on by ``target_cycles``.
    """
    last = 0
    max_warp = 0
    nr_warps = 0
    random_warps = 0
    source_warps = 0  # how many warps there were when this CPU last saw one
    target_warps = 0
    target_max = 0
    now_ns = 0
    turn = 0
    while True:
        now = source_cycles * now_ns // duration_ns
        if turn > 0 and last > now:
            max_warp = max(max_warp, last - now)
            if source_warps != nr_warps:
                random_warps += 1
            nr_warps += 1
            source_warps = nr_warps
        last = now
        now_ns += handoff_ns
        now = target_start + target_cycles * now_ns // duration_ns
        if last > now:
            max_warp = max(max_warp, last - now)
            target_max = max_warp
            if target_warps != nr_warps:
                random_warps += 1
            nr_warps += 1
            target_warps = nr_warps
        last = now
        now_ns += handoff_ns
        if turn & CHECK_MASK == 0 and (now_ns > duration_ns or turn > TURNS_LIMIT):
            return max_warp, nr_warps, random_warps, target_max
        turn += 1
