"""Scenarios of drift, poisoning, evasion and faults over any tabular data, and how Tocsin judges them."""
