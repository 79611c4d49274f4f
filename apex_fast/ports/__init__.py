"""What we ask of the world: one Protocol a file, few methods, its promises numbered in the docstring.

Knows the domain's words and nothing of who keeps the promises (adapters) or who asks (engine, planner).
"""
