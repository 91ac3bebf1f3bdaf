"""Studies: which variants to run, the store of trials, the workers, the command line."""
