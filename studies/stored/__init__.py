"""`list`, `status`, `report`: what is there; and `worker`, which trains what a stored study still lacks."""
