"""Rows of a training buffer in a file: CSV, Parquet or NDJSON."""
