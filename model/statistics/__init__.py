"""The formulas of drift, concept drift, attribution drift and calibration, each once."""
