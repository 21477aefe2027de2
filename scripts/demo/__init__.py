"""A short story on a stack of its own: steady traffic stays quiet, drifted traffic is flagged."""
