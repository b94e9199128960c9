"""Which family of machines a log's machine belongs to."""

from __future__ import annotations

from minikern.core.families import family_of_boot
from minikern.describe.case import Case
from minikern.lab.fit.timeline import Timeline


def family_of_log(spec: Case, real: Timeline) -> str:
    """By its processor and by what its boot says of hypervisors."""
    return family_of_boot(spec.cpus, (step.text for step in real.steps))
