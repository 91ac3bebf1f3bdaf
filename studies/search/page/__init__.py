"""The page of a search, from what is stored."""
