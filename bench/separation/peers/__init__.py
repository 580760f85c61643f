"""Other people's drift monitors, each run by a Python of its own environment: see `separation.compare`."""
