"""The training store: labelled rows in append-only segments, listed by a chained and signed index."""
