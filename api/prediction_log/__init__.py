"""The prediction log: predictions, labels, the windows made of them, and who may make them. All SQL lives here."""
