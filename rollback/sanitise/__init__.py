"""Finding poisoned rows in a training buffer: one screen a file."""
