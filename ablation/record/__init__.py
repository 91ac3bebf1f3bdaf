"""What trials and explanations store: plain values, and metrics with label, unit and direction. No torch."""
