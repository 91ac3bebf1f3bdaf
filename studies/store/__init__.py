"""Optuna storage, journal, queue, leases, history: trials exactly once."""
