"""Alerts on model health: failed checks of the windows, told to Alertmanager."""
