"""A history that nobody can rewrite unnoticed."""
