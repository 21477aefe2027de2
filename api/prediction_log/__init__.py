"""The prediction log: every prediction and label, the windows made of them, and who may make them. All SQL lives here."""
