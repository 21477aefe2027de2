"""ASGI middleware around the routes: limits, headers, authentication, request metrics and the error boundary."""
