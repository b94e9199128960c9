"""PCI of the machine: configuration spaces, the host bridge, firmware assignment, lspci text in and out."""
