"""Worlds for the properties of this folder."""

from tests.support.driver import World
from tests.support.graphs import Case


def begin(case: Case, **more: object) -> World:
    """A world in which the run of a case has been submitted."""
    world = World(case.seed, **more)  # type: ignore[arg-type]  # options of World by name
    world.register(case.definition)
    submit(world, case)
    return world


def submit(world: World, case: Case) -> None:
    token = world.start(case.definition, case.inputs, case.outcomes)
    world.turn([(token, world.start_command(token))])


def live(case: Case, **more: object) -> World:
    """The same, lived to the end."""
    world = begin(case, **more)
    world.run_to_end()
    return world
