"""Which words of a command line the kernel knows, in what order it acts on them, and what is left for init."""

from __future__ import annotations

import pytest

from hw.errors import MachineStopped
from minikern.core.cmdline import CommandLine
from minikern.core.parameters import INIT_ARG_LIMIT, InitWords, load_parameters
from tests.support import run, texts

NONE: frozenset[str] = frozenset()


def left(line: str, build: str = "6.12", configured: frozenset[str] = NONE) -> list[str]:
    """The words of ``line`` that are handed to init."""
    words, known = InitWords(), load_parameters(build, configured)
    for name, value in CommandLine(line).args:
        words.word(known, name, value)
    return words.unknown


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("console=ttyS0 quiet root=/dev/sda1 ro loglevel=8 nosmp", ""),
        ("b=1 nokaslr a=2 kaslr", "nokaslr kaslr b=1 a=2"),  # bare words first
        ("hugepages default_hugepagesz", "hugepages default_hugepagesz"),  # they need a value
        ("hugepages=3 hugepagesz=2M", ""),
        ("slub_debug slub_debug=FZ slub-debug=Z", ""),  # a beginning is enough; dashes are underscores
        ("crashkernel=1M crashkernelx=1", "crashkernelx=1"),  # early ones are whole names
        ("numa_zonelist_order=node hung_task_panic=1", ""),  # old names of sysctls
        ("nvme.poll_queues=4 printk.time=1 sysctl.vm.swappiness=1", ""),
        ("BOOT_IMAGE=/vmlinuz kexec kexec_whatever", ""),
        ("page_owner=on min_free_kbytes=1 cma=1G", "page_owner=on min_free_kbytes=1 cma=1G"),
        ("panic=1 panic_on_warn", ""),
        ("auto init=/bin/sh single", "single"),  # a boot loader's word is dropped
        ("x=1 y=2 x=3", "x=3 y=2"),  # a variable has one value
        ("TERM=vt100 HOME=/root X=1", "X=1"),
        ("-- nosuch", ""),
    ],
)
def test_unknown_words(line: str, unknown: str) -> None:
    assert " ".join(left(line)) == unknown


def test_kernels_differ() -> None:
    assert left("nopti pti=on mtrr=debug", "6.1") == ["nopti", "pti=on", "mtrr=debug"]
    assert left("nopti pti=on mtrr=debug", "6.12") == []
    assert left("hugepages", "7.2") == []
    assert left("nopti hugepages", "") == []  # of a kernel that is not listed, everything listed is believed


def test_parameters_of_the_build() -> None:
    assert left("cma=1G page_owner=on", "6.12", frozenset(("cma",))) == ["page_owner=on"]
    assert left("cma=1G", "7.2") == ["cma=1G"]


def test_too_many_words_stop_the_kernel() -> None:
    assert len(left(" ".join(f"w{i}" for i in range(INIT_ARG_LIMIT)))) == INIT_ARG_LIMIT
    words, known = InitWords(), load_parameters("6.12", NONE)
    for i in range(INIT_ARG_LIMIT):
        words.word(known, f"v{i}", "1")
    assert (words.too_many, words.unknown) == (f"env vars at `v{INIT_ARG_LIMIT - 1}=1'", [])
    line = " ".join(f"w{i}" for i in range(INIT_ARG_LIMIT + 1))
    with pytest.raises(MachineStopped, match=rf"Too many boot init vars at `w{INIT_ARG_LIMIT}'"):
        run("tiny", release="debian-6.12", append=line)


def test_messages_come_in_the_order_of_the_words() -> None:
    done = run("tiny", release="debian-6.12", append="nokaslr hugepagesz=3M intel_iommu=on hugepages=-1")
    text, kernel = texts(done), done.kernel
    first = text.index(f"Kernel command line: {kernel.cmdline.text}")
    assert text[first + 1 : first + 5] == [
        "HugeTLB: unsupported hugepagesz=3M",
        "DMAR: IOMMU enabled",
        "HugeTLB: hugepages=-1 does not follow a valid hugepagesz, ignoring",
        'Unknown kernel command line parameters "nokaslr", will be passed to user space.',
    ]
    assert kernel.init_words.arguments == ["nokaslr"]
