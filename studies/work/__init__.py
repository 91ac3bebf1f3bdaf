"""Worker loop, processes of one machine, progress, stopping."""
