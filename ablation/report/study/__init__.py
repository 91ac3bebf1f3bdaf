"""The report of a grid: tables, plots and sentences from records."""
