"""A study from its config to its records and report."""
