"""start_kernel() and the steps that belong to no subsystem, in Linux's order."""
