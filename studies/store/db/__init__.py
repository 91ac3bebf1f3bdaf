"""Databases as storages: opened, read, locked, outlasting restarts."""
