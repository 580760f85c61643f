"""Labels come hours after their events: the scored events that wait for them, and the labels that wait for events."""
