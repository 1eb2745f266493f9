"""Results as tables. Nothing is computed here: every number comes from the result."""

from golf.report.curve import curve_png, curve_table
from golf.report.dataset import fetched_table, info_table, prepared_table, recipe_lines
from golf.report.evaluation import evaluation_table
from golf.report.export import export_table
from golf.report.findings import findings_table
from golf.report.inspection import inspection_table
from golf.report.ledger import factor_tables, ledger_tables, pack_summary
from golf.report.plan import plan_tables
from golf.report.training import training_table
from golf.report.verdict import verdict_table

__all__ = [
    "curve_png",
    "curve_table",
    "evaluation_table",
    "export_table",
    "factor_tables",
    "fetched_table",
    "findings_table",
    "info_table",
    "inspection_table",
    "ledger_tables",
    "pack_summary",
    "plan_tables",
    "prepared_table",
    "recipe_lines",
    "training_table",
    "verdict_table",
]
