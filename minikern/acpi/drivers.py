"""Which Linux driver takes a device, by its hardware id. Source: the acpi_device_id tables of each driver @ v6.12"""

from __future__ import annotations

DRIVERS: dict[str, str] = {
    "PNP0A03": "pci_root", "PNP0A08": "pci_root", "PNP0C0F": "pci_link", "PNP0C09": "ec", "PNP0C0A": "battery",
    "ACPI0003": "ac", "PNP0C0C": "button (power)", "PNP0C0E": "button (sleep)", "PNP0C0D": "button (lid)",
    "PNP0C0B": "fan", "PNP0C14": "wmi", "ACPI0007": "processor", "ACPI0010": "container", "ACPI0004": "container",
    "PNP0A05": "container", "PNP0A06": "container", "PNP0C80": "acpi_memhotplug", "ACPI0012": "nfit",
    "ACPI0017": "cxl_acpi", "ACPI0016": "cxl host bridge", "ACPI000C": "acpi_pad", "ACPI000D": "power_meter",
    "ACPI000E": "acpi_tad", "PNP0C33": "hed", "PNP0B00": "rtc_cmos", "PNP0B01": "rtc_cmos", "PNP0103": "hpet",
    "PNP0501": "serial (8250_pnp)", "PNP0500": "serial (8250_pnp)", "PNP0400": "parport_pc", "PNP0401": "parport_pc",
    "PNP0303": "i8042 (keyboard)", "PNP0F13": "i8042 (mouse)", "PNP0F03": "i8042 (mouse)", "PNP0C01": "system",
    "PNP0C02": "system", "PNP0C31": "tpm_tis", "MSFT0101": "tpm_crb", "QEMU0002": "qemu_fw_cfg",
    "LNRO0005": "virtio_mmio", "VMGENCTR": "vmgenid", "IPI0001": "ipmi_si", "PNP0C50": "i2c_hid_acpi",
    "INT33A1": "intel_pmc_core", "PNP0D40": "sdhci_acpi", "PNP0D10": "xhci_plat",
}  # fmt: skip


def driver_of(ids: list[str]) -> str:
    """The driver of the first id that has one, "" where none is known."""
    return next((DRIVERS[name] for name in ids if name in DRIVERS), "")
