"""Serving the model: from rows to logged responses, and how another version takes its place."""
