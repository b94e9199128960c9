"""Deferred init against Kexec HandOver: who initialises struct pages, and what that takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from hw.units import GIB, MIB, PAGE_SIZE
from minikern.cli import main
from minikern.core.variant import load_variant
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.kexec.load import Kexec
from minikern.kho.preserve import preserve_pages
from minikern.lab.compare import run_ladder
from minikern.lab.handover_price import handover_price, told
from minikern.lab.kexec import reboot
from minikern.lab.run import Boot, boot
from minikern.lab.stand_in import stand_in_image
from minikern.mm.page.mmzone import MAX_PAGE_ORDER

SCRATCH = "kho_scratch=64M,64M,128M"


def host() -> Case:
    spec = load_machine("tiny")
    adjust(spec, Adjustments(memory="2G"))
    return spec


def after_keeping(first: Boot, size: int) -> Boot:
    k = first.kernel
    for _ in range(size // (PAGE_SIZE << MAX_PAGE_ORDER)):
        pfn = k.page_alloc.alloc_pages(MAX_PAGE_ORDER)
        assert pfn is not None
        preserve_pages(k, pfn, 1 << MAX_PAGE_ORDER)
    image = Kexec(k).kexec_file_load(stand_in_image(k), bytes(k.boot_params.ramdisk[1]), k.cmdline.text)
    return reboot(first, image, "hashlib").boot


def test_without_handover_there_is_no_price() -> None:
    assert handover_price(boot(host()).kernel, host()) is None


def test_either_of_them_before_7_1() -> None:
    done = boot(host(), load_variant("kho-6.18"), append=SCRATCH)
    price = handover_price(done.kernel, done.spec)
    assert price is not None and price.deferral == "excluded"
    assert price.alone.count >= done.kernel.memblock.phys_mem_size() // PAGE_SIZE
    assert (price.threads.count, price.kept.count) == (0, 0)
    assert next(told(price)).startswith("Kexec HandOver costs you deferred init before 7.1: ")


def test_what_was_kept_comes_back_on_the_boot_cpu() -> None:
    """Two kernels that differ in nothing but 256 MiB of kept memory: so many struct pages change sides."""
    variant, kept = load_variant("kho-7.2"), 256 * MIB // PAGE_SIZE
    without, with_it = (after_keeping(boot(host(), variant, append=SCRATCH), size) for size in (0, 256 * MIB))
    prices = [handover_price(done.kernel, done.spec) for done in (without, with_it)]
    few, many = prices
    assert few is not None and many is not None and few.deferral == many.deferral == "beside it"
    assert 0 < many.kept.count - few.kept.count <= kept
    assert many.kept.count - few.kept.count == few.threads.count - many.threads.count
    assert many.alone.count - few.alone.count >= many.kept.count - few.kept.count
    assert any("kept over the kexec" in sentence for sentence in told(many))


def test_a_gib_is_counted_at_the_machines_own_cost() -> None:
    spec = host()
    price = handover_price(boot(spec, load_variant("kho-7.2"), append=SCRATCH).kernel, spec)
    assert price is not None and price.gib.count == GIB // PAGE_SIZE and price.gib.band is not None
    assert price.gib.band.low_ms < price.gib.ms < price.gib.band.high_ms


def test_larger_scratch_puts_more_pages_on_the_boot_cpu() -> None:
    """What a cold boot reserves it initialises at once: as many pages more as the areas are larger."""
    words = (SCRATCH, "kho_scratch=64M,64M,640M")
    small, large = (
        handover_price(boot(host(), load_variant("kho-7.2"), append=text).kernel, host()) for text in words
    )
    assert small is not None and large is not None
    more = (large.scratch_bytes - small.scratch_bytes) // PAGE_SIZE
    assert large.scratch.count - small.scratch.count == more == 512 * MIB // PAGE_SIZE
    assert 0.9 * more <= large.alone.count - small.alone.count <= more
    assert any("kho_scratch=" in sentence for sentence in told(large))


def test_compare_says_what_the_release_makes_of_both_options() -> None:
    """The price is the difference to the same boot of a kernel that has both."""
    spec, words = host(), f"kho=on {SCRATCH}"
    plain = [load_variant(name) for name in ("baseline", "deferred")]
    ladder, _ = run_ladder(spec, plain, "linux-6.18", words)
    (line,) = ladder.prices
    assert re.match(r"KHO on linux-6\.18 costs you deferred init \(.* before 7\.1\): [+-]\d+ ms \[", line)
    rung = ladder.rungs[-1]
    assert rung.handover is not None and rung.handover.deferral == "excluded"
    later = msgspec.structs.replace(plain[1], behaviour={**plain[1].behaviour, "kho_excludes_deferred": False})
    both = boot(spec, later, "linux-6.18", words)
    assert not both.kernel.conflicts
    assert rung.given_up_ms == pytest.approx(rung.total_ms - both.total_ns / 1e6, abs=0.002)
    ladder, _ = run_ladder(spec, plain, "kho-7.2", words)
    assert ladder.prices == [] and ladder.rungs[-1].given_up_ms is None
    assert ladder.rungs[-1].handover is not None and ladder.rungs[-1].handover.deferral == "beside it"


def test_the_explained_log_and_the_static_explanation() -> None:
    words = ["boot", "tiny", "--memory", "2G", "--variant", "kho-6.18", "--append", SCRATCH, "--explain"]
    text = CliRunner().invoke(main, words).stdout
    after = text.split("Memory: ")[1]
    assert "# Kexec HandOver costs you deferred init before 7.1: 524,288 struct pages" in after.split("\n[")[0]
    plain = CliRunner().invoke(main, ["explain", "kho=on", "--json"])
    (row,) = json.loads(plain.stdout)
    assert plain.exit_code == 0 and "262,144 x reserved_page_init" in row["counted"]


def test_options_beside_the_machine_hold_for_every_kernel(tmp_path: Path) -> None:
    """A preset's own kernel, another release, another rung: --config is of whichever boots."""
    config = tmp_path / "config"
    config.write_text("CONFIG_KEXEC_HANDOVER=y\nCONFIG_CMA=y\n")
    words = ["compare", "tiny", "--memory", "1G", "--config", str(config), "--append", "kho=on", "--json"]
    for more in ([], ["--kernel", "debian-7.2"]):
        done = CliRunner().invoke(main, [*words, "--variants", "baseline,deferred", *more])
        assert done.exit_code == 0, done.output
        assert all(rung["handover"]["scratch_bytes"] > 0 for rung in json.loads(done.stdout)["rungs"])
