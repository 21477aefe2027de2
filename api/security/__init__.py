"""Who may call what, how much, and what a browser is told to allow: ASGI middleware around the routes."""
