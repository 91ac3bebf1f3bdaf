"""The latent space of a trained network: clustering, neighbourhoods, probes and maps of its posterior means. No torch here."""
