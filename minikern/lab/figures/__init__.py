"""Published figures that boots are held against."""
