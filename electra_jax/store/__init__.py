"""Rows of token ids on disk, and the feed that reads them."""
