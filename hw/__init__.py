"""The emulated machine: chips, buses, memory and simulated time. It knows nothing of any kernel."""
