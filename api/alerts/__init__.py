"""Alerts on the model's health: failed checks of windows, posted to Alertmanager or told to people."""
