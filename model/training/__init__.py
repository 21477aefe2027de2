"""Training a pipeline or importing one, up to a finished artifact."""
