"""A dry run's Plan as tables."""

from __future__ import annotations

from rich.table import Table

from golf.report.tables import percent, table
from golf.training.results import Plan


def plan_tables(plan: Plan) -> list[Table]:
    """Summary, and parameters by role with their optimizer and learning rate."""
    summary = table(f"plan of {plan.name}", "", "")
    summary.add_row("parameters", f"{plan.parameters:,}")
    summary.add_row("tokens", f"{plan.tokens:,}")
    summary.add_row("FLOPs", f"{plan.flops:.3g}")
    summary.add_row(f"estimated time on {plan.device}", _duration(plan.seconds))
    summary.add_row(
        "predicted artifact",
        f"{plan.predicted_bytes:,} bytes, {percent(plan.predicted_bytes, plan.cap)} of the cap {plan.cap:,}",
    )
    summary.add_row("the cap leaves", f"{plan.cap_bits_per_weight:.2f} bits per weight")
    roles = table("parameters by role", "role", "optimizer", "lr", "parameters", "share", text_columns=2)
    for assignment in plan.assignments:
        count = plan.by_role[assignment["role"]]
        roles.add_row(
            assignment["role"],
            assignment["optimizer"],
            f"{assignment['lr']:g}",
            f"{count:,}",
            percent(count, plan.parameters),
        )
    return [summary, roles]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
