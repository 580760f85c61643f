"""Making model servers serve another version, and finding out what they really serve."""
