"""Seeded traffic against the API: what to send, when to send it, and what came back."""
