"""What the release gate requires of a candidate, one family of checks a file, found by its name."""
