"""Nodes from one kernel to the next: the seed is used up, and nothing piles up over a chain of kernels."""

from __future__ import annotations

import pytest

from minikern.describe.presets import load_machine
from minikern.kexec.ima import KEXEC_HEADER, measurement_list
from minikern.kexec.load import Kexec
from minikern.kexec.setup_data import SETUP_IMA, SETUP_RNG_SEED
from minikern.lab.kexec import reboot
from minikern.lab.run import Boot, boot
from minikern.state.e820 import Type
from tests.kexec.images import make_bzimage

RELEASES = ["debian-6.1", "debian-6.12"]
SEED_NODE = 16  # its head; the 32 bytes behind it are gone


def kexec(first: Boot) -> Boot:
    image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), b"\x1f\x8b" * 900, "console=ttyS0")
    return reboot(first, image, "hashlib").boot


@pytest.mark.parametrize("release", RELEASES)
def test_the_seed_is_used_and_wiped(release: str) -> None:
    first = boot(load_machine("tiny"), release=release)
    second = kexec(first).kernel
    (address, kind, size), *rest = second.boot_params.setup_data
    assert (kind, size, rest) == (SETUP_RNG_SEED, 0, [])
    node = second.machine.bus.memory.read(address, SEED_NODE + 32)
    assert node[8:12] == SETUP_RNG_SEED.to_bytes(4, "little")
    assert not any(node[12:])
    assert second.boot_params.seeded
    lines = [line.text for line in second.log.lines]
    assert f"e820: update [mem {address:#010x}-{address + SEED_NODE - 1:#010x}] usable ==> usable" in lines
    assert lines.count("random: crng init done") == 1
    assert lines.index("random: crng init done") < lines.index("extended physical RAM map:")


@pytest.mark.parametrize("release", RELEASES)
def test_nodes_do_not_pile_up(release: str) -> None:
    running, maps = boot(load_machine("tiny"), release=release), []
    for _ in range(3):
        running = kexec(running)
        k = running.kernel
        maps.append(k.boot_params.e820)
        assert len([entry for entry in k.e820.table if entry.type == Type.RESERVED_KERN]) == 1
        assert all(entry.type != Type.RESERVED_KERN for entry in k.e820.kexec)
    assert maps[0] == maps[1] == maps[2]


def test_a_cpu_that_is_not_trusted_seeds_nobody() -> None:
    first = boot(load_machine("tiny"), append="random.trust_cpu=off")
    assert "random: crng init done" not in [line.text for line in first.kernel.log.lines]
    assert kexec(first).kernel.boot_params.setup_data == []


def test_other_loaders_nodes_are_handed_on_by_old_kernels_only() -> None:
    spec = load_machine("lpc2023")
    for release, handed_on in (("linux-6.8", True), ("debian-6.12", False)):
        spec.boot.setup_data[0].type = 3  # PCI, which no kexec makes anew
        k = boot(spec, release=release).kernel if handed_on else None
        if k is not None:
            kept = [entry for entry in k.e820.kexec if entry.type == Type.RESERVED_KERN]
            assert [entry.addr for entry in kept] == [spec.boot.setup_data[0].address]
            k.release_memory()


def test_measurements_go_along() -> None:
    first = boot(load_machine("tiny"))
    assert measurement_list(first.kernel) is None
    first.kernel.config._values["CONFIG_IMA_KEXEC"] = True
    image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), None, "console=ttyS0")
    ima = image.segment("ima")
    version, _, _, size, count = KEXEC_HEADER.unpack_from(ima.buf)
    assert (version, count, ima.memsz % 4096, ima.digested) == (1, 1, 0, False)
    assert KEXEC_HEADER.size < size < ima.bufsz
    memory = first.kernel.machine.bus.memory
    second = reboot(first, image, "hashlib").boot.kernel
    kinds = {kind: address for address, kind, _ in second.boot_params.setup_data}
    assert set(kinds) == {SETUP_IMA, SETUP_RNG_SEED}
    node = memory.read(kinds[SETUP_IMA] + 16, 16)
    assert (int.from_bytes(node[:8], "little"), int.from_bytes(node[8:], "little")) == (ima.mem, ima.bufsz)
    assert memory.read(ima.mem, len(ima.buf)) == ima.buf
