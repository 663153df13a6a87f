"""What is written and read with care: scratch folders, owners, JSON."""
