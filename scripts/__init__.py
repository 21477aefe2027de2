"""Commands around the service, all clients of its HTTP interface: load, embedded stack, demo, doctor."""
