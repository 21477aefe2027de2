"""A story on a stack of its own: steady traffic stays quiet, and each kind of trouble raises its own alarm."""
