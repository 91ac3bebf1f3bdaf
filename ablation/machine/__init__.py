"""The machine at hand: device, cores, hardware, and where numbers come from."""
