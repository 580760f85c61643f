"""Telling the SIEM: one encoder and one sender a file."""
