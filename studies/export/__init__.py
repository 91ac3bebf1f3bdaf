"""`export`: leave with the model."""
