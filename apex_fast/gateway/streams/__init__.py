"""Live streams: who watches which run.

Holds the viewers and their places. In: requests to watch, durable events from the engine's feed. Out: pages of the
past, then one publication per event for all viewers of a run. Never reads what is not durable, never buffers for a
viewer (the front door does, within its bound).
"""
