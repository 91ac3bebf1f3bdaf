"""Simulations with known truth: whether what is called a 95 % interval covers. No torch."""
