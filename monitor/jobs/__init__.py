"""What is done from time to time: one job a file, each a callable that runs outside of the loop."""
