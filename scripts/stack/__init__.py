"""The embedded stack: Evidently UI and the API on this machine, without Docker."""
