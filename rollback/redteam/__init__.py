"""Attacks on training data, as pure functions on columns: for tests, the demo, benchmarks and the release gate."""
