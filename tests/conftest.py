"""One hypothesis profile for every run: the same examples on every machine, more where they are asked for."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("random", deadline=None)
settings.load_profile("random" if "MINIKERN_RANDOM" in os.environ else "repeatable")
