"""Watched by machines: metrics, health, and the listener that shows them."""
