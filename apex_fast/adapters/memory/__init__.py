"""The reference: every port in plain Python, nothing survives the process."""
