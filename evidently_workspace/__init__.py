"""Model health in Evidently: what a snapshot measures, the dashboard, and the UI it is posted to."""
