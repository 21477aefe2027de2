"""SHAP attributions of a model's answers."""
