"""Training buffers that are attacked, sanitised and retrained on, and what is measured of it."""
