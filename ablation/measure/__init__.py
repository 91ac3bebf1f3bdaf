"""Modules turned into numbers: costs, latency, quality, latent space, edits."""
