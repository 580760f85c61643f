"""What is done about a verdict: decided by a pure policy, carried out step by step, remembered by the audit log."""
