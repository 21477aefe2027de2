"""The artifact folder of a model: its manifest, its files, and how they are replaced."""
