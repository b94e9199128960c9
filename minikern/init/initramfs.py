"""The initial file system: unpacked by a worker beside the drivers, or by the boot CPU before them.

Source: init/initramfs.c:populate_rootfs(), do_populate_rootfs() @ v5.10, v6.12
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from minikern.core.cmdline import is_bool
from minikern.core.moduleparam import Parameter, setup_param
from minikern.mm.buddy import free_reserved

if TYPE_CHECKING:
    import simpy

    from minikern.core.kernel import Kernel

WORKER = 1
WAKE_UP_NS = 100_000  # until a worker runs and prints; real logs show one to three lines of the boot CPU before it


def populate_rootfs(k: Kernel) -> None:
    """Start unpacking, and wait for it where the kernel does so at once."""
    address, size = k.boot_params.ramdisk
    if not address or not size:
        return
    if not _asynchronous(k):
        announce(k)
        k.charge("initramfs_byte", size)
        _free(k)
        return
    helper = WORKER if len(k.cpus.online) > 1 else 0
    since = k.point()
    done = k.initramfs_done = k.charge_on(helper, "initramfs_byte", size)
    k.turn("fork", since, "initramfs_byte")
    assert done.callbacks is not None
    done.callbacks.append(lambda _: _free(k))
    k.machine.clock.process(_speak(k))


def _speak(k: Kernel) -> Generator[simpy.Event, object, None]:
    yield k.machine.clock.timeout(WAKE_UP_NS)
    announce_worker(k)


def announce(k: Kernel) -> None:
    """What is being done, in the words of a kernel with or without RAM disks."""
    with_ram_disks = k.config.get("CONFIG_BLK_DEV_RAM", True)
    k.printk("Trying to unpack rootfs image as initramfs..." if with_ram_disks else "Unpacking initramfs...")


def announce_worker(k: Kernel) -> None:
    """The worker is heard once it runs, at the latest now: where the boot CPU has little to do it is quicker."""
    if k.initramfs_done is not None and not k.initramfs_announced:
        k.initramfs_announced = True
        announce(k)


def wait_for_initramfs(k: Kernel) -> None:
    """Wait until the initramfs is unpacked. Source: init/initramfs.c:wait_for_initramfs() @ v6.12"""
    k.wait_for_initramfs()


def _asynchronous(k: Kernel) -> bool:
    return k.behaviour.initramfs_async and k.cmdline.get_bool("initramfs_async", True)


def _free(k: Kernel) -> None:
    if not k.cmdline.has("retain_initrd"):
        free_reserved.free_initrd_mem(k)


def retain_initrd_param(k: Kernel, rest: str) -> bool:
    """``retain_initrd``, alone. Source: init/initramfs.c:retain_initrd_param() @ v6.12"""
    return not rest


def initramfs_async_setup(k: Kernel, text: str) -> bool:
    """``initramfs_async=``. Source: init/initramfs.c:initramfs_async_setup() @ v6.12"""
    return is_bool(text)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("retain_initrd", retain_initrd_param, read_by=_free),
    setup_param("initramfs_async=", initramfs_async_setup, read_by=populate_rootfs),
)
