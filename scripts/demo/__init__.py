"""The demo: a stack of its own, steady traffic that passes every check, and four kinds of drift that do not."""
