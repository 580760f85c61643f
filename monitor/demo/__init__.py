"""The demonstration: a generator of realistic SOC traffic and the story told with it."""
