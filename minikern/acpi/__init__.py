"""The kernel's ACPI side: finding tables, reading MADT and FADT, loading AML, scanning the namespace."""
