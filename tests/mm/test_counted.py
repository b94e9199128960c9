"""A counted memory map: the same log and the same ledger as a stored one, and no content to look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.errors import InputError
from minikern.core.kernel import BootOptions
from minikern.core.variant import load_variants
from minikern.describe.presets import load_machine, preset_names
from minikern.lab.run import Boot, boot
from minikern.mm.page.vmemmap import PageStateGone
from minikern.verify.page_check import check_memmap

CAPTURES = Path(__file__).parents[3] / "shared" / "captures"
SMALL = ("tiny", "laptop")


def booted(machine: str, variant: str, backing: str) -> Boot | str:
    spec = load_machine(machine)
    try:
        return boot(spec, load_variants()[variant] if variant else None, options=BootOptions(vmemmap=backing))
    except Exception as error:  # what a stored map refuses, a counted one refuses in the same words
        return f"{type(error).__name__}: {error}"


def told(result: Boot | str) -> object:
    if isinstance(result, str):
        return result
    kernel = result.kernel
    found = ([(line.ts_ns, line.text) for line in kernel.log.lines], list(kernel.ledger.entries()), kernel.phase_ns())
    kernel.release_memory()
    return found


@pytest.mark.parametrize("variant", ["", *load_variants()])
@pytest.mark.parametrize("machine", ["tiny", pytest.param("laptop", marks=pytest.mark.big)])
def test_counted_is_window_by_log_and_ledger(machine: str, variant: str) -> None:
    assert told(booted(machine, variant, "counted")) == told(booted(machine, variant, "window"))


@pytest.mark.big
@pytest.mark.parametrize("machine", sorted(set(preset_names()) - set(SMALL)))
def test_every_preset(machine: str) -> None:
    assert told(booted(machine, "", "counted")) == told(booted(machine, "", "window"))


@pytest.mark.big
@pytest.mark.parametrize("variant", ["baseline", "hvo-skip", "hugepages-noskip-hvo-off", "hugetlb-2m-6.9"])
def test_a_large_machine(variant: str) -> None:
    assert told(booted("lpc2023", variant, "counted")) == told(booted("lpc2023", variant, "window"))


@pytest.mark.big
@pytest.mark.oracle
@pytest.mark.skipif(not CAPTURES.is_dir(), reason="no captured machines beside the checkout")
@pytest.mark.parametrize("folder", sorted(str(path.parent) for path in CAPTURES.rglob("boot_params.bin")))
def test_every_capture(folder: str) -> None:
    assert told(booted(folder, "", "counted")) == told(booted(folder, "", "window"))


def test_page_state_is_refused_with_what_to_use_instead() -> None:
    done = booted("tiny", "", "counted")
    assert isinstance(done, Boot)
    with pytest.raises(PageStateGone, match="counted, not stored: boot with --vmemmap window or full"):
        done.kernel.vmemmap.page(0x100)
    with pytest.raises(InputError, match="expected --vmemmap window or full"):
        check_memmap(done.kernel)
