"""What all pages share: blocks, tables, plot style."""
