"""Memory before the allocator: e820, memblock's users, nodes, the direct map."""
