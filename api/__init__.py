"""The prediction API: predict, feedback, the prediction log and the scheduler of snapshots."""

__version__ = "0.1.0"
