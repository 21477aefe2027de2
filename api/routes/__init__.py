"""HTTP routes: each parses, calls one function, and returns a schema."""
