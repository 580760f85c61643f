"""What outlives a restart: checkpoints, segments, outputs cut back to them."""
