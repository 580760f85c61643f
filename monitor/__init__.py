"""Sees and tells: sources, decoding, windows, the loop, incidents, metrics and the command line."""
