"""Thinks: pure detectors and the verdict. Touches no clock, file, network or Kafka."""
