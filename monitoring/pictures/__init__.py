"""Draws the dashboards, and the story of one request, from a running stack's data: `python -m monitoring.pictures`.

Grafana needs Docker; this needs requirements/pictures.txt. What it draws shows the same panels and the same data as Grafana
would, and is none of Grafana's own pages.
"""
