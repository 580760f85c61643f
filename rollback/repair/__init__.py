"""Batches of a buffer against the trusted base: which differ and how, and faults (not poison) that can be undone."""
