"""How quick and how small the Evidently UI is with the snapshots of a day, a week, a month and a year."""
