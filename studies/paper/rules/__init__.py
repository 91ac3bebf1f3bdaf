"""What most rules of claims are made of."""
