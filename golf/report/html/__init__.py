"""A run, or several beside one another, as one HTML file: `read_run` reads folders, all else is values to text."""

from golf.report.html.data import RunData, read_run
from golf.report.html.page import BEGINNING, report_page

__all__ = ["BEGINNING", "RunData", "read_run", "report_page"]
