"""The Parameter Golf contest: submission folders with their script, other exports, and the rules of a submission."""
