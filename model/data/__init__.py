"""Reading tables: CSV text, column types, targets, and the data sets that come with scikit-learn."""
