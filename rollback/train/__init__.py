"""Trains model versions: recipes (one file each in `recipes`), the split that keeps a reference out, the bundle."""
