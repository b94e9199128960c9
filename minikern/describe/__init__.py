"""Files become a case: presets, captured folders, boot logs, acpidump, lspci."""
