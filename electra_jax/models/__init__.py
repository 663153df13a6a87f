"""The networks; knows nothing of losses, data or devices."""
