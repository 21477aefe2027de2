"""A copy of everything that a stack keeps, made while it runs, and how it is put back."""
