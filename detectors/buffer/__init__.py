"""Looks into the rows that a version was retrained on."""
