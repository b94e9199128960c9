"""One struct page and the map of all: layout, flags, compiled kernels, where rows lie. Knows no kernel."""
