"""The memory map is filled: sections, memmap_init_range, deferred initialisation."""
