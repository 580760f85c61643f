"""Whom and what to ask, in which order, and what trusted answers allow to say."""
