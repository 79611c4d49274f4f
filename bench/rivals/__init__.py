"""The same work on other systems, in one run and one table.

Holds: the works (``works``), a driver and the no-op steps for each rival in its own folder, the limits of
plain asyncio (``limits``), and the runner (``run``) that installs, starts, measures and compares them.
May know: how a rival is installed, started and loaded. ``run`` and what it imports need only the standard
library; a driver runs in its rival's own environment.
Never does: import ``apex_fast``. It is measured from outside, through ``apex bench``, as a user would.
In: ``python bench/rivals/run.py [--only NAME]``. Out: a Markdown table and JSON in ``bench/results``.
"""
