"""The Live Update Orchestrator at boot: what the kernel before kept for its successor, by sessions of files.

Source: kernel/liveupdate/luo_core.c @ v7.2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from hw.errors import MachineStopped
from minikern.core.printk import Level
from minikern.kho.incoming import ENOENT, RetrieveError, retrieve_subtree
from minikern.kho.restore import NotPreservedError, restore_free
from minikern.kho.retrieve import phys_to_virt
from minikern.state.kho_abi import LUO, LUO_COMPATIBLE, LUO_NODE

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def liveupdate_early_init(k: Kernel) -> None:
    """Find the orchestrator's header and say which live update this is; a bad one ends the boot.

    Source: luo_early_startup(), liveupdate_early_init()
    """
    if not k.kho.enabled:
        if k.kho.liveupdate:
            k.printk("luo: Disabling liveupdate because KHO is disabled", Level.WARNING)
        k.kho.liveupdate = False
        return
    if not k.config.enabled("CONFIG_LIVEUPDATE"):
        return
    try:
        phys, size = retrieve_subtree(k, LUO_NODE)
    except RetrieveError as error:
        if error.code == ENOENT:
            return
        k.printk(f"luo: failed to retrieve '{LUO_NODE}' from KHO: {error.code}", Level.ERR)
        _fail(k)
    compatible, number, sessions, _ = LUO.unpack(phys_to_virt(k, phys, LUO.size))
    if size != LUO.size or compatible.rstrip(b"\0") != LUO_COMPATIBLE.encode():
        k.printk(f"luo: '{LUO_NODE}' is incompatible with '{LUO_COMPATIBLE}'", Level.ERR)
        _fail(k)
    k.kho.liveupdate_num, k.kho.sessions_phys = number, sessions
    k.printk(f"luo: Retrieved live update data, liveupdate number: {number}")
    try:
        restore_free(k, phys)
    except NotPreservedError:
        k.printk("WARNING: CPU: 0 PID: 1 at kernel/liveupdate/kexec_handover.c kho_restore_page", Level.WARNING)


def _fail(k: Kernel) -> NoReturn:
    # Memory that a device may still write to cannot be given to anybody else. Source: luo_restore_fail()
    k.kho.liveupdate = False
    text = "luo: The incoming tree failed to initialize properly [-EINVAL], disabling live update"
    raise MachineStopped(f"Kernel panic - not syncing: {text}")
