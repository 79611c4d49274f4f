"""Asks a model for another input of a job that failed."""

from apex_fast.executors.correction.executor import CorrectionExecutor

__all__ = ["CorrectionExecutor"]
