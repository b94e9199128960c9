"""CPUs as the kernel sees them: enumeration, time-stamp counter, delay calibration, bring-up."""
