"""Captures a stretch of the stream as a reference file: whole sessions, with the labels of trusted origins."""
