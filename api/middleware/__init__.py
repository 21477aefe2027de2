"""ASGI middleware around the routes: limits, headers, authentication, metrics, the last error boundary."""
