"""Prediction: the engines, their parity, and the predictor that loads an artifact."""
