"""What the verdicts rest on: measured from trials, collected from a folder, published beside a page."""
