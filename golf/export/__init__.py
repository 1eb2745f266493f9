"""An artifact for others: the contest's submission folder, or plain safetensors."""

from golf.export.submission import Details, export_submission
from golf.export.weights import export_weights

__all__ = ["Details", "export_submission", "export_weights"]
