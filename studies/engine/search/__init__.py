"""What a search has beyond a grid: settings, reference, predicted latency, earlier trials, rungs."""
