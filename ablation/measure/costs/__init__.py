"""What a network costs, counted without running it; and fvcore's published counts beside that."""
