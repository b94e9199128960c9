"""Which words of a command line the kernel knows, and which it hands to init.

Source: init/main.c:obsolete_checksetup(), unknown_bootoption(), print_unknown_bootoptions(), kernel/params.c @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

from minikern.core.cmdline import dashes
from minikern.core.moduleparam import Kind

SYSCTL_ALIASES = frozenset(  # Source: fs/proc/proc_sysctl.c:sysctl_aliases @ v6.12
    ("hardlockup_all_cpu_backtrace", "hung_task_panic", "numa_zonelist_order", "softlockup_all_cpu_backtrace")
)
BOOT_LOADER_WORDS = ("BOOT_IMAGE=", "kexec")  # Source: init/main.c:unknown_bootoption() @ stable 6.12
CLEARING = ("init=", "rdinit=")  # Source: init/main.c:init_setup(), rdinit_setup() @ v6.12
BY_CONFIG = {
    "cma": "CONFIG_CMA",
    "hugetlb_cma": "CONFIG_CMA",
    "kho": "CONFIG_KEXEC_HANDOVER",
    "kho_scratch": "CONFIG_KEXEC_HANDOVER",
    "liveupdate": "CONFIG_LIVEUPDATE",
    "page_owner": "CONFIG_PAGE_OWNER",
}
INIT_ARG_LIMIT = 32  # CONFIG_INIT_ENV_ARG_LIMIT


@dataclass(frozen=True)
class Parameters:
    """Names of one kernel build, dashes made underscores: ``setup`` are beginnings, the others whole names."""

    setup: tuple[str, ...]
    early: frozenset[str]
    param: frozenset[str]

    def knows(self, name: str, value: str | None, refused: frozenset[str] = frozenset()) -> bool:
        """True if the kernel keeps the word, or expects a module to; False if it is handed to init.

        ``refused`` are the setup names whose handler did not take it.
        """
        if name in SYSCTL_ALIASES or dashes(name) in self.param:
            return True
        if boot_loaders(name, value):
            return True
        word = name if value is None else f"{name}={value}"
        setup = any(dashes(word).startswith(start) for start in self.setup if start not in refused)
        return setup or dashes(name) in self.early or "." in name


def boot_loaders(name: str, value: str | None) -> bool:
    """True for a word that a boot loader or kexec leaves on the line. Source: init/main.c:unknown_bootoption()"""
    return (name if value is None else f"{name}={value}").startswith(BOOT_LOADER_WORDS)


@lru_cache(maxsize=8)
def load_parameters(build: str, configured: frozenset[str]) -> Parameters:
    """The names the kernels called ``build`` know, all listed ones if it is empty.

    Those of ``BY_CONFIG`` are known if they are among ``configured``, whatever the list says.
    """
    found = {kind: frozenset(map(dashes, names)) for kind, names in listed(build).items()}
    early = (found[Kind.EARLY] - BY_CONFIG.keys()) | configured
    return Parameters(tuple(sorted(found[Kind.SETUP])), early, found[Kind.PARAM])


@lru_cache(maxsize=8)
def listed(build: str = "") -> dict[Kind, frozenset[str]]:
    """The listed names of the kernels called ``build``, of all of them if it is empty, as Linux spells them."""
    found: dict[Kind, set[str]] = {kind: set() for kind in Kind}
    for kind, name, *builds in _rows():
        if not build or build in builds:
            found[Kind(kind)].add(name)
    return {kind: frozenset(names) for kind, names in found.items()}


def listed_builds() -> frozenset[str]:
    """The kernels whose names are listed."""
    return frozenset(build for _, _, *builds in _rows() for build in builds)


@lru_cache(maxsize=1)
def _rows() -> tuple[list[str], ...]:
    text = resources.files("minikern.core").joinpath("parameters.txt").read_text(encoding="ascii")
    return tuple(line.split() for line in text.splitlines() if not line.startswith("#"))


@dataclass
class InitWords:
    """What is left for init: its arguments and its environment, in the order in which they are kept.

    ``too_many`` names the first word that found no room, as the kernel complains of it: ``env vars at `x=1'``.
    """

    arguments: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=lambda: ["HOME=/", "TERM=linux"])
    too_many: str = ""

    def word(
        self, known: Parameters, name: str, value: str | None, refused: frozenset[str] = frozenset()
    ) -> None:
        """Take the next word of the command line; ``refused`` are the setup names whose handler did not take it."""
        if known.knows(name, value, refused):
            if value is not None and f"{name}=" in CLEARING:
                self.arguments.clear()  # what came before is a boot loader's
        elif self.too_many:
            return
        elif value is None:
            self._argument(name)
        else:
            self._variable(name, f"{name}={value}")

    def _argument(self, word: str) -> None:
        if len(self.arguments) >= INIT_ARG_LIMIT:
            self.too_many = f"init vars at `{word}'"
        self.arguments.append(word)

    def _variable(self, name: str, word: str) -> None:
        for i, kept in enumerate(self.environment):
            if kept.startswith(f"{name}="):
                self.environment[i] = word
                return
            if i == INIT_ARG_LIMIT:
                self.too_many = f"env vars at `{word}'"
        self.environment.append(word)

    @property
    def unknown(self) -> list[str]:
        """The words the log names: arguments first; none if there were too many (the kernel stops a little later)."""
        return [] if self.too_many else self.arguments + self.environment[2:]
