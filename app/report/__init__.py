"""`sizer report`: a history as one page, for reading, for sending on and for printing."""

from app.report.command import run_report
from app.report.making import make_report

__all__ = ["make_report", "run_report"]
