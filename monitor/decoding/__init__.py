"""From bytes to columns: what is read, what is put aside, and why."""
