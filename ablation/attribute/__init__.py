"""Differences given to pieces: effects of a grid, and the lattice of networks between two."""
