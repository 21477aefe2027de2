"""The landing page, served from local files only."""
