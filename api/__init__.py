"""The prediction API: predict, feedback, the prediction log and the scheduler of snapshots."""
