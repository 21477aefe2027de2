"""What the API is compared with: programs as others would write them, so the boundaries of ours do not hold here."""
