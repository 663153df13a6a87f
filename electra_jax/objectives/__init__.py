"""What the networks learn: pure functions."""
