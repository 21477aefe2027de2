"""Runs migrations on the connection that the caller opened and will commit."""

from alembic import context

from api.prediction_log.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
