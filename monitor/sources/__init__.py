"""Where events come from: one source a file."""
