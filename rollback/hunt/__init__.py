"""What a poisoned version missed: the trigger as an incident names it, how many attacks passed, containment rules."""
