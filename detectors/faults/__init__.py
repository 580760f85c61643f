"""Columns that a pipeline has broken: which, where, how, and since when."""
