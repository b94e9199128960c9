"""Priors from many boot logs, and how well they foretell a machine that none of them is of."""
