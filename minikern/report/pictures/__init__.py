"""What people draw on whiteboards, drawn from a finished boot's own state."""
