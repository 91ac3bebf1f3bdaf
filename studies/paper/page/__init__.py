"""The page of the paper: figures, tables and sentences from stored evidence."""
