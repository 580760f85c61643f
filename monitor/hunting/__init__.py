"""The hunt for what a poisoned version missed: reads past events again, re-scores them, lists and counts."""
