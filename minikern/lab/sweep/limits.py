"""How much one sweep may ask for: told by its options, and held by its plan."""

from __future__ import annotations

MAX_DRAWS = 100_000
MAX_ROWS = 10**12  # far more than anybody boots; what is counted in the end fits a machine word
