"""What a snapshot of a regressor measures, and its panels."""
