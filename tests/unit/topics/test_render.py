from topics.cluster import PartitionState
from topics.render import render_description


def test_a_description_is_a_table() -> None:
    states = [
        PartitionState("rag.queries", 0, 1, (1, 2), (1,), 0, 120),
        PartitionState("rag.queries", 10, None, (2,), (), None, None),
    ]
    assert render_description(states).splitlines() == [
        "topic        partition  leader  replicas  in sync  first offset  next offset",
        "rag.queries  0          1       1,2       1        0             120",
        "rag.queries  10         none    2                  unknown       unknown",
    ]


def test_a_description_of_nothing_is_its_head() -> None:
    assert render_description([]).startswith("topic")
