"""Turning windows of the log into snapshots: when, in which process, and what is known of them."""
