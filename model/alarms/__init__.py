"""Calibrating alarms: null distributions, thresholds and the policy behind them."""
