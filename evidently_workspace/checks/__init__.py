"""The checks of a window that every model has."""
