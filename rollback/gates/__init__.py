"""The checks of the release gate, one family a file: pure functions of answers and rows."""
