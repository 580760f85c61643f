"""One sender a file: the file's name is the sink's `type` in the configuration, its `make` makes the sink."""
