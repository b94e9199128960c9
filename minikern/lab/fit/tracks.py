"""Which thread wrote a line: the main one, whose path leads to /init, or one that runs beside it."""

from __future__ import annotations

import re

MAIN = ("", "T0", "T1")  # start_kernel()'s task, then kernel_init()'s

# Lines of workers, kernel threads and asynchronous probes, by what they say. Logs with callers need no list.
_BESIDE = re.compile(
    r"tsc: Refined TSC clocksource calibration|clocksource: (?:tsc: mask|Switched to clocksource tsc$)"
    r"|node \d+ (?:deferred pages )?initiali[sz]ed|pgdatinit"
    r"|(?:usb|hub) \d+-[\d.]+(?::[\d.]+)?: |ata\d+(?:\.\d+)?: |sd[a-z]? \d+:|scsi \d+:\d+:|sr \d+:|nvme nvme\d+: "
    r"|(?:input|hid-generic|usbhid|usb-storage|usbcore: registered new device)[ :]|\s*sd[a-z]\d*: |\s*nvme\dn\d: "
    r"|random: (?:crng|fast) |audit: type=\d+|xhci_hcd .*: (?:new|USB) |NET: Registered .*_ALG"
    r"|\w+ \d{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d (?:eth\d|en[ops]\w+): "
)
_WORKER = re.compile(r"Trying to unpack rootfs|Unpacking initramfs|Freeing initrd memory|Initramfs unpacking failed")


def is_main(text: str, caller: str, async_initramfs: bool) -> bool:
    """True if the main thread wrote the line. ``async_initramfs``: a worker unpacks the initramfs (since 5.13)."""
    if _WORKER.match(text):
        return not async_initramfs
    if caller:
        return caller in MAIN
    return _BESIDE.match(text) is None
