"""Checkpoints of the released code and of other libraries."""
