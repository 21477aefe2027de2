"""Copies the data of a stack into one file while it runs; scripts.restore puts it back."""
