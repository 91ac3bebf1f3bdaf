"""The page of a search: what beats the reference, how sure, and why."""
