"""The configuration: one file, checked before anything starts."""
