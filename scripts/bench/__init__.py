"""Benchmarks: how well the alarms work, measured on data sets whose truth is known."""
