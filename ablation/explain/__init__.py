"""Why two networks differ: attribution to pieces, mechanisms, controls, remedies."""
