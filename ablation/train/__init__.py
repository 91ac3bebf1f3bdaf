"""Training by the paper's protocol, and quality on the test split."""
