"""Huge pages: pools, gathering, folding their map, CMA."""
