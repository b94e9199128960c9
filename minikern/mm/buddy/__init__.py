"""Zones, zonelists, and memory given to the free lists."""
