"""Sends the predictions that a file holds to the API: in order, resumable, each row once."""
