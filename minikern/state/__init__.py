"""What Linux declares in its headers: structures with their invariants. No flow, no kernel."""
