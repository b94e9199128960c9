"""Memory: from the firmware's map to the buddy allocator."""
