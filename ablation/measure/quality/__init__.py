"""Quality of reconstructions: the loss and its parts, similarity, colour, and what baselines reach."""
