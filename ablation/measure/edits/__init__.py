"""Moving through the latent space: dimensions traversed, attributes edited, and how even, local and specific the change is."""
