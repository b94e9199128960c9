"""This computer: memory for the map, its nodes, the door to compiled code."""
