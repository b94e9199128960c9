"""Terminals: the drivers behind the consoles, from the first early one to serial ports and the screen."""
