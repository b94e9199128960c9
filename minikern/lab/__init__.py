"""The lab: boots under variants, compared, timed and checked."""
