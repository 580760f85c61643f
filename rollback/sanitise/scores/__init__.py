"""Suspicion scores of rows: one file each, its name is the score's. `score` says what such a file offers."""
