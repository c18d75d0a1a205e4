"""Map memory before there are maps: exact bytes by type, and how a plan shrinks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obi_core.kernel.memory import FLOOR, MapShape, MemoryPlan

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU, LRU_PERCPU, RING, TASK_STORAGE = 1, 2, 5, 6, 9, 10, 27, 29


@pytest.mark.parametrize(
    ("shape", "bytes_on_two_cpus"),
    [
        # What 6.18 with two CPUs accounts, read from fdinfo.
        (MapShape(HASH, 8, 8, 1), 1120),
        (MapShape(HASH, 8, 8, 100), 9488),
        (MapShape(HASH, 8, 840, 1024), 936592),
        (MapShape(HASH, 8, 9, 100), 10304),
        (MapShape(ARRAY, 4, 8, 1), 320),
        (MapShape(ARRAY, 4, 9, 100), 1912),
        (MapShape(PERCPU_HASH, 8, 8, 100), 10944),
        (MapShape(LRU_PERCPU, 8, 840, 1024), 1803136),
        (MapShape(PERCPU_ARRAY, 4, 8, 64), 1848),
        (MapShape(LRU, 8, 8, 1024), 82816),
        (MapShape(RING, 0, 0, 4096), 16728),
        (MapShape(RING, 0, 0, 65536), 78408),
        (MapShape.of_data(8), 8192),
        (MapShape.of_data(5000), 12288),
        (MapShape(TASK_STORAGE, 4, 24, 0), 0),
    ],
)
def test_each_type_takes_what_the_kernel_accounts(shape, bytes_on_two_cpus):
    assert shape.bytes(2) == bytes_on_two_cpus


def test_only_per_cpu_maps_and_the_spare_elements_of_a_hash_grow_with_the_cpus():
    shapes = [MapShape(kind, 8, 8, 100) for kind in (HASH, ARRAY, LRU, PERCPU_HASH, PERCPU_ARRAY)]
    assert [shape.bytes(64) - shape.bytes(2) for shape in shapes] == [62 * 72, 0, 0, 62 * 800, 62 * 800]


def test_a_ring_buffer_is_rounded_up_to_what_libbpf_makes_of_it():
    assert MapShape(RING, 0, 0, 4097).bytes(2) == MapShape(RING, 0, 0, 8192).bytes(2)
    assert MapShape(RING, 0, 0, 3 * 4096).bytes(2) == MapShape(RING, 0, 0, 4 * 4096).bytes(2)


def plan(**entries):
    return MemoryPlan({name: MapShape(HASH, 8, 8, number) for name, number in entries.items()}, 2)


def entries(made):
    return {name: shape.entries for name, shape in made.maps.items()}


def test_the_largest_map_is_halved_until_the_budget_is_kept():
    asked = plan(large=4096, small=256)
    made = asked.scaled(["large", "small"], 120_000)
    assert entries(made) == {"large": 1024, "small": 256}
    assert made.losses(asked) == ("map large: 1024 of 4096 entries",)


def test_a_plan_within_its_budget_stays_as_it_is():
    asked = plan(large=4096)
    assert asked.scaled(["large"], asked.total) == asked
    assert entries(asked.scaled(["large"], asked.total - 1)) == {"large": 2048}


def test_a_map_whose_size_is_no_setting_is_left_alone():
    assert entries(plan(fixed=4096, ours=4096).scaled(["ours", "absent"], 1)) == {"fixed": 4096, "ours": 64}


def test_a_ring_buffer_shrinks_to_a_page_and_says_bytes():
    asked = MemoryPlan({"ring": MapShape(RING, 0, 0, 16384)}, 2)
    made = asked.scaled(["ring"], 1)
    assert made.losses(asked) == ("map ring: 4096 of 16384 bytes",)


def test_what_grows_with_its_owners_is_named_and_counts_nothing():
    made = MemoryPlan({"calls": MapShape(TASK_STORAGE, 4, 24, 0), "rows": MapShape(HASH, 8, 8, 1)}, 2)
    assert (made.uncounted, made.sizes) == (("calls",), {"calls": 0, "rows": 1120})


@given(st.dictionaries(st.text(min_size=1), st.integers(1, 1 << 20), min_size=1), st.integers(0, 1 << 24))
def test_scaling_keeps_the_budget_or_has_every_map_at_its_smallest(sizes, budget):
    asked = plan(**sizes)
    made = asked.scaled(sizes, budget)
    assert made.total <= budget or all(shape.halved is None for shape in made.maps.values())
    for name, number in entries(made).items():
        assert number == sizes[name] or number >= FLOOR
        assert number in {sizes[name] >> halvings for halvings in range(21)}
