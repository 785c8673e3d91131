"""The results as one HTML page: no network, no server, every number with its provenance."""

from transfer.report.page.render import render_page

__all__ = ["render_page"]
