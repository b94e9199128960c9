"""ACPI as firmware makes it: structure layouts, table builders, an AML encoder, dumps in and out."""
