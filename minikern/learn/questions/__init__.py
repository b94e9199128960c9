"""The questions of all lessons."""
