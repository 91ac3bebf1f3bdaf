"""Training by a protocol, and quality on the test split."""
