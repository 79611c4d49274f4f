"""The works as LangGraph graphs: one node per step, a checkpoint after each superstep."""

import operator
from itertools import pairwise
from typing import Annotated, TypedDict

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from bench.rivals.works import CHAIN_LENGTH, FAN_WIDTH


class State(TypedDict):
    """The value that is handed on, and what the leaves of the fan gave."""

    value: int
    leaves: Annotated[list[int], operator.add]


async def step(state: State) -> dict[str, int]:
    """The no-op step."""
    return {"value": state["value"] + 1}


async def leaf(state: State) -> dict[str, list[int]]:
    """The no-op step of the fan's middle; many writers need a key with a reducer."""
    return {"leaves": [state["value"] + 1]}


def row(length: int, saver: BaseCheckpointSaver[str]) -> CompiledStateGraph:
    """Steps in a row."""
    graph = StateGraph(State)
    names = [f"link{link}" for link in range(length)]
    for name in names:
        graph.add_node(name, step)
    graph.add_edge(START, names[0])
    for before, after in pairwise(names):
        graph.add_edge(before, after)
    graph.add_edge(names[-1], END)
    return graph.compile(checkpointer=saver)


def single(saver: BaseCheckpointSaver[str]) -> CompiledStateGraph:
    """One step."""
    return row(1, saver)


def chain(saver: BaseCheckpointSaver[str]) -> CompiledStateGraph:
    """Steps in a row."""
    return row(CHAIN_LENGTH, saver)


def fan(saver: BaseCheckpointSaver[str]) -> CompiledStateGraph:
    """One step, many at once, one step."""
    graph = StateGraph(State)
    leaves = [f"leaf{number}" for number in range(FAN_WIDTH)]
    graph.add_node("first", step)
    graph.add_node("last", step)
    graph.add_edge(START, "first")
    for name in leaves:
        graph.add_node(name, leaf)
        graph.add_edge("first", name)
    graph.add_edge(leaves, "last")
    graph.add_edge("last", END)
    return graph.compile(checkpointer=saver)
