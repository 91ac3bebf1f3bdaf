"""`explain`: why two networks differ."""
