"""Pictures of definitions: a graph as SVG or Mermaid, and what two definitions differ in.

Knows the form of a definition that compiled; knows no run, no gateway, no file. Bounded: what nobody could read on a
page is `TooLarge`. The layout is our own, about 200 lines: the libraries that lay graphs out want a program beside
them (Graphviz), a browser (Mermaid, ELK), or have stood still for years, and none puts bodies into nodes.
"""

from apex_fast.drawing.difference import Change, Difference, difference
from apex_fast.drawing.graph import Graph, Marks, NodeState, TooLarge, graph_of
from apex_fast.drawing.layout import PLACES_MAX
from apex_fast.drawing.mermaid import mermaid
from apex_fast.drawing.svg import svg

__all__ = [
    "PLACES_MAX",
    "Change",
    "Difference",
    "Graph",
    "Marks",
    "NodeState",
    "TooLarge",
    "difference",
    "graph_of",
    "mermaid",
    "svg",
]
