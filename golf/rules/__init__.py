"""The contest's rules that a program can test, on a submission's folder. Nothing in the folder is executed."""

from golf.rules.findings import PROFILES, Finding, Profile, State
from golf.rules.folder import Submission, read_submission
from golf.rules.judge import judge

__all__ = ["PROFILES", "Finding", "Profile", "State", "Submission", "judge", "read_submission"]
