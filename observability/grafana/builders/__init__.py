"""The dashboards' one source: `python -m observability.grafana.builders` writes the files in dashboards/."""
