"""Generates the files of monitoring/ that are shorter to define than to write: `python -m monitoring.generate`."""
