"""What a run is: its config in types, its folder on disk."""
