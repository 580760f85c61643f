"""One format a file: the file's name is the sink's `format` in the configuration, its `make` makes the encoder."""
