"""The Evidently UI on SQL storage. Imports nothing of the rest of this project."""
