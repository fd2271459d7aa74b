"""How each operation of pandas is split, and how its result is rebuilt."""
