"""A processor by its name, as it stands on a data sheet or in a report."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources

import msgspec

from hw.cpuid import DEFAULT_FEATURES
from hw.errors import InputError
from hw.spec import CpuSpec
from hw.toml_file import decode_toml

HYPERVISOR, GUEST_WORD = "hypervisor", "guest"


class CpuModel(msgspec.Struct, forbid_unknown_fields=True):
    """Names that fit the pattern are those of this CPUID signature."""

    name: str
    model: int
    vendor: str = "GenuineIntel"
    family: int = 6
    stepping: int = 1


class CpuModels(msgspec.Struct, forbid_unknown_fields=True):
    """All that is known, the first that fits first."""

    model: list[CpuModel]


@lru_cache(maxsize=1)
def load_cpu_models() -> list[CpuModel]:
    """The table that comes with hw."""
    where = "cpu_models.toml"
    return decode_toml(resources.files("hw").joinpath(where).read_bytes(), CpuModels, f"hw/{where}").model


def set_cpu(cpus: CpuSpec, text: str) -> None:
    """Make ``cpus`` those of ``NAME[,guest]``. InputError: nobody knows the name."""
    name, comma, word = text.partition(",")
    if comma and word.strip() != GUEST_WORD:
        raise InputError(f"--cpu: {word!r}: expected NAME or NAME,{GUEST_WORD}")
    found = next((one for one in load_cpu_models() if re.search(one.name, name, re.IGNORECASE)), None)
    if found is None:
        raise InputError(f"--cpu: {name!r:.80}: expected a processor's name, as 'Xeon Gold 6154' or 'Milan'")
    if cpus.cpuid:
        raise InputError("--cpu: a captured machine keeps its CPUs: its CPUID leaves are data")
    cpus.vendor, cpus.family, cpus.model, cpus.stepping = found.vendor, found.family, found.model, found.stepping
    cpus.model_name = name.strip()
    if comma:
        cpus.features = [*(cpus.features or DEFAULT_FEATURES), HYPERVISOR]


def is_guest(cpus: CpuSpec) -> bool:
    """True if its features say that a hypervisor runs it."""
    return HYPERVISOR in cpus.features
