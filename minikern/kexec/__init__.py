"""From one kernel to the next: load an image, move it into place, verify it, start it."""
