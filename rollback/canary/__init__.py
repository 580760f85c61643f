"""Samples whose answers tell one version from another."""
