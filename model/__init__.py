"""Train, evaluate, calibrate and export a classifier; load it and predict. Knows nothing of the web."""
