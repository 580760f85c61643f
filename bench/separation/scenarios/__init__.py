"""One file a scenario; see `separation.scenario`."""
