"""Calibration: a log's stamps become the machine's own unit costs, and its unexplained time a named residue."""
