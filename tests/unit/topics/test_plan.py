from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.names import Namespace
from topics.plan import ActualTopic, Create, GrowPartitions, Mismatch, Plan, plan, wanted_configs
from topics.render import render_plan
from topics.settings import TopicSettings
from topics.specs import CONTROL, DOCUMENTS, QUERIES, TopicSpec, all_topics, dead_letters

SETTINGS = TopicSettings(partitions=4, replication_factor=2)
NAMES = Namespace("run1")
TOPIC = "run1.rag.queries"


def as_declared(spec: TopicSpec, partitions: int = 4) -> ActualTopic:
    return ActualTopic(spec.partitions or partitions, 2, {**wanted_configs(spec), "segment.bytes": "1"})


def test_a_missing_topic_is_created_as_declared() -> None:
    assert plan([QUERIES], SETTINGS, NAMES, {}) == Plan(creates=(Create(TOPIC, 4, 2, wanted_configs(QUERIES)),))


def test_a_spec_with_its_own_partitions_keeps_them() -> None:
    assert plan([CONTROL], SETTINGS, NAMES, {}).creates[0].partitions == 1


def test_what_is_as_declared_is_left_alone() -> None:
    specs = all_topics()
    found = plan(specs, SETTINGS, NAMES, {NAMES.topic(spec): as_declared(spec) for spec in specs})
    assert found.in_order
    assert not found.differs
    assert len(found.unchanged) == len(specs)


def test_other_namespaces_do_not_count() -> None:
    assert plan([QUERIES], SETTINGS, Namespace(), {TOPIC: as_declared(QUERIES)}).creates[0].topic == "rag.queries"


def test_more_partitions_need_consent_and_say_why() -> None:
    found = plan([QUERIES], SETTINGS, NAMES, {TOPIC: as_declared(QUERIES, partitions=3)})
    assert found == Plan(grows=(GrowPartitions(TOPIC, 4, 3),))
    assert found.differs
    assert "key moves" in found.grows[0].advice


def test_fewer_partitions_are_impossible() -> None:
    [mismatch] = plan([QUERIES], SETTINGS, NAMES, {TOPIC: as_declared(QUERIES, partitions=5)}).mismatches
    assert (mismatch.setting, mismatch.wanted, mismatch.actual, mismatch.fixable) == ("partitions", "4", "5", False)


def test_another_replication_factor_is_for_people() -> None:
    there = replace(as_declared(QUERIES), replication_factor=1)
    [mismatch] = plan([QUERIES], SETTINGS, NAMES, {TOPIC: there}).mismatches
    assert (mismatch.setting, mismatch.fixable) == ("replication.factor", False)


@pytest.mark.parametrize("setting", ["retention.ms", "cleanup.policy", "max.message.bytes"])
def test_another_config_is_reported(setting: str) -> None:
    there = as_declared(DOCUMENTS)
    there = replace(there, configs={**there.configs, setting: "other"})
    [mismatch] = plan([DOCUMENTS], SETTINGS, NAMES, {"run1.rag.documents": there}).mismatches
    assert isinstance(mismatch, Mismatch)
    assert (mismatch.setting, mismatch.actual, mismatch.fixable) == (setting, "other", True)


def test_a_config_that_is_not_told_counts_as_different() -> None:
    [mismatch, *_] = plan([QUERIES], SETTINGS, NAMES, {TOPIC: ActualTopic(4, 2, {})}).mismatches
    assert mismatch.actual == ""


def test_the_order_of_cleanup_policies_does_not_matter() -> None:
    spec = replace(QUERIES, cleanup_policy="compact,delete")  # type: ignore[arg-type]
    there = replace(as_declared(spec), configs={**wanted_configs(spec), "cleanup.policy": "delete, compact"})
    assert plan([spec], SETTINGS, NAMES, {TOPIC: there}).in_order


def test_a_dead_letter_has_room_for_its_cause() -> None:
    assert dead_letters(QUERIES).max_message_bytes > QUERIES.max_message_bytes


@given(st.lists(st.sampled_from(all_topics()), unique=True), st.integers(1, 8), st.integers(1, 3))
def test_after_creating_nothing_differs(specs: list[TopicSpec], partitions: int, replicas: int) -> None:
    settings = TopicSettings(partitions=partitions, replication_factor=replicas)
    first = plan(specs, settings, NAMES, {})
    made = {new.topic: ActualTopic(new.partitions, new.replication_factor, new.configs) for new in first.creates}
    assert plan(specs, settings, NAMES, made).in_order
    assert len(first.creates) == len(specs)


def test_a_plan_in_words() -> None:
    short = replace(
        as_declared(CONTROL), configs={**wanted_configs(CONTROL), "retention.ms": "5"}, replication_factor=1
    )
    actual = {TOPIC: as_declared(QUERIES, partitions=3), "run1.rag.control": short}
    words = render_plan(plan([QUERIES, CONTROL, DOCUMENTS], SETTINGS, NAMES, actual)).splitlines()
    assert words[0].startswith(
        "+ run1.rag.documents: create with 4 partitions, replication factor 2, cleanup.policy=compact"
    )
    assert words[1] == "~ run1.rag.queries: partitions is 3, declared 4"
    assert words[2] == "! run1.rag.control: replication.factor is 1, declared 2"
    assert words[3] == "~ run1.rag.control: retention.ms is 5, declared 86400000"
    assert words[4].startswith("~ partitions: with more partitions a key moves")
    assert words[5].startswith("! replication.factor: reassign")
    assert words[6] == "~ other settings: apply with consent to set it as declared"
    assert words[7] == "1 to create, 2 different, 0 as declared"


def test_a_plan_with_nothing_to_do() -> None:
    assert render_plan(Plan(unchanged=("a", "b"))) == "0 to create, 0 different, 2 as declared"
