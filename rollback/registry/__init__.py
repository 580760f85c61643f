"""Registries of signed, immutable model bundles: one adapter a file."""
