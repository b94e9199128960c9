"""Independent checkers: they share no line with what they check."""
