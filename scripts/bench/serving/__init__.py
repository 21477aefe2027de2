"""The serving benchmark: how near the API comes to an endpoint that does nothing, and how far from the usual one."""
