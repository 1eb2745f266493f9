"""A run, or several beside one another, as one HTML file: `read_run` reads folders, all else is values to text."""

from golf.report.html.page import BEGINNING, report_page
from golf.report.run_data import RunData, read_run

__all__ = ["BEGINNING", "RunData", "read_run", "report_page"]
