"""Answering rows: the engines, their parity, and the predictor that loads an artifact."""
