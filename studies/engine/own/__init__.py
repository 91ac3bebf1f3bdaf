"""Studies whose networks and training are a user's own: what their file says, and what a trial of them does."""
