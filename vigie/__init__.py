"""What programs of others import of Vigie: its client."""
