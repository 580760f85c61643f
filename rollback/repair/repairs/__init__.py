"""Repairs, one a file, found by name."""
