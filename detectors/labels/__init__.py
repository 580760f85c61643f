"""Bets on labels: who gave them, in which cell, and what trusted answers say."""
