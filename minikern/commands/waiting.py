"""Saying on a terminal that something still runs, once a second has passed."""

from __future__ import annotations

import os
import sys
import threading
import time

SILENT_SECONDS = 1.0
EVERY_SECONDS = 0.5
CLEAR = "\r\x1b[K"


def somebody_waits() -> bool:
    """True if stderr is a terminal where a line can be written over; a notebook's cell keeps every one of them."""
    notebook = "JPY_PARENT_PID" in os.environ  # set by jupyter for its kernels, and so for what they start
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not notebook


class Waiting:
    """Around work: on stderr its phase and how long it has run on this computer, where somebody waits for it there.

    ``phase`` is to be told of every phase that begins. The work may fork in its first second only.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._phase = ""
        self._shown = somebody_waits()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def phase(self, name: str) -> None:
        """A phase of the boot begins."""
        self._phase = name

    def __enter__(self) -> Waiting:
        if self._shown:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        if self._shown:
            self._thread.join()

    def _run(self) -> None:
        begun, said = time.monotonic(), False
        while not self._done.wait(EVERY_SECONDS):
            spent = time.monotonic() - begun
            if spent >= SILENT_SECONDS:
                said = True
                phase = f": {self._phase}" if self._phase else ""
                sys.stderr.write(f"{CLEAR}minikern: {self._what}{phase}, {spent:.0f} s")
                sys.stderr.flush()
        if said:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()
