"""What every room stands on: the kernel's parts, its configuration, command line, log and ledger."""
