"""The layout: nothing lies on anything else, and every link goes down."""

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from apex_fast.drawing.layout import GAP_X, Layout, Size, lay_out, places_of, ranks_of

CLOSE = 1e-6


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Size], list[tuple[int, int]]]:
    """Sizes of boxes, and links from earlier to later ones."""
    count = draw(st.integers(1, 14))
    sizes = draw(st.lists(st.tuples(st.integers(20, 200), st.integers(16, 120)), min_size=count, max_size=count))
    pairs = list(combinations(range(count), 2))
    links = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30)) if pairs else []
    names = draw(st.permutations(range(count)))
    return [(float(w), float(h)) for w, h in sizes], [(names[a], names[b]) for a, b in links]


def crosses(layout: Layout, sizes: list[Size], link: tuple[int, int], way: int) -> list[int]:
    """The boxes, other than its ends, that the straight parts of a way touch."""
    touched = []
    for box, ((left, top), (width, height)) in enumerate(zip(layout.corners, sizes, strict=True)):
        for x, upper, lower in layout.ways[way]:
            if box not in link and left < x < left + width and upper < top + height and lower > top:
                touched.append(box)
    return touched


@given(graphs())
def test_boxes_and_ways_keep_apart(graph: tuple[list[Size], list[tuple[int, int]]]) -> None:
    """No two boxes overlap, ways go down and through no box, and all of it is in the picture."""
    sizes, links = graph
    layout = lay_out(sizes, links)
    boxes = [(*corner, *size) for corner, size in zip(layout.corners, sizes, strict=True)]
    for (x, y, width, height), (other_x, other_y, other_width, other_height) in combinations(boxes, 2):
        beside = x + width + GAP_X <= other_x + CLOSE or other_x + other_width + GAP_X <= x + CLOSE
        assert beside or y + height < other_y or other_y + other_height < y
    for x, y, width, height in boxes:
        assert x >= -CLOSE
        assert x + width <= layout.width + CLOSE
        assert y >= 0
        assert y + height <= layout.height + CLOSE
    for number, link in enumerate(links):
        way = layout.ways[number]
        assert all(upper <= lower for _, upper, lower in way)
        assert all(before[2] < after[1] for before, after in pairwise(way))
        assert crosses(layout, sizes, link, number) == []


@given(graphs())
def test_the_same_graph_is_drawn_the_same(graph: tuple[list[Size], list[tuple[int, int]]]) -> None:
    """Nothing depends on chance."""
    assert lay_out(*graph) == lay_out(*graph)


@given(graphs())
def test_places_are_boxes_and_bends(graph: tuple[list[Size], list[tuple[int, int]]]) -> None:
    """A way over n ranks has n - 1 bends, and each is a place."""
    sizes, links = graph
    bends = sum(len(way) - 2 for way in lay_out(sizes, links).ways)
    assert places_of(len(sizes), links) == len(sizes) + bends


def test_ranks() -> None:
    """The longest way from a root; a root stands just above what it leads to."""
    assert ranks_of(5, [(0, 1), (1, 2), (0, 2), (3, 2)]) == [0, 1, 2, 1, 0]


def test_a_tree_is_drawn_without_crossings() -> None:
    """The order of the rows is found, however the boxes are written."""
    sizes = [(40.0, 20.0)] * 7
    layout = lay_out(sizes, [(0, 2), (0, 1), (1, 5), (2, 3), (1, 4), (2, 6)])
    x = [corner[0] for corner in layout.corners]
    assert (x[1] < x[2]) == (max(x[4], x[5]) < min(x[3], x[6]))
    assert layout.ways[0][0][0] == layout.ways[1][0][0]


def test_nothing_is_drawn_of_nothing() -> None:
    """An empty graph takes no room."""
    assert lay_out([], []) == Layout([], [], 0.0, 0.0)
