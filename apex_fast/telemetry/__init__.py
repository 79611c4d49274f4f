"""What the house says about itself: metrics and logs.

Holds numbers and how they are shown. May know settings and errors. Never values of users, never secrets.
In: counts (plain integers, so that counting costs nothing on the hot path). Out: Prometheus text, log lines.
"""
