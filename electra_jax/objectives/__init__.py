"""Masking, corruption and losses: pure functions of arrays."""
