"""Incidents: one uid from create through update to close; how grave each is, who closes it, what is known of it."""
