"""What to build instead: proposals, exact costs and predicted latency of whole spaces, rungs and confirmation."""
