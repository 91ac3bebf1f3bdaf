"""The same function, computed faster: rewrites that keep weights and outputs."""
