"""What a snapshot of a classifier measures, and its panels."""
