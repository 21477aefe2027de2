"""Train, evaluate, calibrate and export a classifier or a regressor; load it and predict. Knows nothing of the web."""
