"""Which family of machines a log's machine belongs to."""

from __future__ import annotations

from minikern.core.families import HYPERVISOR, family_of
from minikern.describe.case import Case
from minikern.lab.fit.timeline import Timeline


def family_of_log(spec: Case, real: Timeline) -> str:
    """By its processor; under a hypervisor it is a guest whatever that says."""
    return family_of(spec.cpus, any(step.text.startswith(HYPERVISOR) for step in real.steps))
