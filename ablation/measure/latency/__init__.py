"""Latency: interleaved, paired, with its noise floor; and what it was measured on."""
