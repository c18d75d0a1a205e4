"""Grafana's dashboards as code: `python -m dashboards` writes the JSON files beside this one, of the probes' own catalogues.

One module per dashboard says what it shows; `promql` makes its expressions, `board` its JSON.
"""
