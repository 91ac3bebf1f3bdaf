"""`grid`: every network of a space, of this project's pieces or of a user's own."""
