"""`bench`: the suite's own speed and safety."""
