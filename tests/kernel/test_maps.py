"""Reading and writing maps by their descriptors, on the real kernel."""

import ctypes
import errno
import os

import pytest

from obi_core.errors import DecodeError, KernelError, ObiError
from obi_core.kernel.lib import libbpf
from obi_core.kernel.maps import LoadedMap, Map

pytestmark = pytest.mark.kernel(needs=("cap:bpf",))

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LPM_TRIE = 1, 2, 5, 6, 9, 11
NO_PREALLOC = 1


class Key(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("number", ctypes.c_uint64), ("port", ctypes.c_uint16), ("pad", ctypes.c_uint16), ("kind", ctypes.c_uint32))


class Wide(ctypes.Structure):
    _pack_ = 1
    _fields_ = (
        ("count", ctypes.c_uint64),
        ("small", ctypes.c_uint8),
        ("_pad_at_9", ctypes.c_uint8 * 3),
        ("below", ctypes.c_int32),
        ("slots", ctypes.c_uint16 * 3),
        ("_pad_at_22", ctypes.c_uint8 * 2),
    )


@pytest.fixture
def create():
    made = []
    lib = ctypes.CDLL("libbpf.so.1", use_errno=True)

    def go(kind, key_type, value_type, entries, *, flags=0, types=None):
        sizes = ctypes.sizeof(key_type), ctypes.sizeof(value_type)
        options = (ctypes.c_uint32 * 12)()  # struct bpf_map_create_opts: its size, …, map_flags
        options[0], options[7] = ctypes.sizeof(options), flags
        fd = lib.bpf_map_create(kind, b"obi_test", *sizes, entries, options)
        assert fd >= 0, os.strerror(ctypes.get_errno())
        made.append(Map("counted", LoadedMap(fd, kind, *sizes, entries, *(types or (key_type, value_type)))))
        return made[-1]

    yield go
    for each in made:
        each.close()


@pytest.mark.parametrize("kind", [HASH, LRU_HASH])
def test_ten_thousand_rows_come_once_each(create, kind):
    counted = create(kind, Key, ctypes.c_uint64, 16384)
    for number in range(10_007):
        counted.update(Key(number, number % 65536, 0, 1), number * 3)
    rows = [(key.number, key.port, value) for key, value in counted.rows()]
    assert sorted(rows) == [(number, number % 65536, number * 3) for number in range(10_007)]


def test_an_empty_map_has_no_rows(create):
    assert list(create(HASH, ctypes.c_uint32, ctypes.c_uint64, 64).rows()) == []


def test_an_array_has_all_its_rows(create):
    counted = create(ARRAY, ctypes.c_uint32, ctypes.c_uint64, 5000)
    counted.update(4999, 7)
    rows = list(counted.rows())
    assert (len(rows), rows[0], rows[4999]) == (5000, (0, 0), (4999, 7))


def test_a_bucket_larger_than_the_block_makes_the_block_grow(create, monkeypatch):
    monkeypatch.setattr("obi_core.kernel.maps._BLOCK_ROWS", 1)
    monkeypatch.setattr("obi_core.kernel.maps._LEAST_ROWS", 1)
    counted = create(HASH, ctypes.c_uint32, ctypes.c_uint64, 1000)
    for number in range(1000):
        counted.update(number, number)
    assert sorted(counted.rows()) == [(number, number) for number in range(1000)]


def test_a_map_without_batched_reads_is_read_row_by_row(create):
    counted = create(HASH, ctypes.c_uint32, ctypes.c_uint64, 300)
    for number in range(300):
        counted.update(number, number * 2)
    counted._batches = False
    assert sorted(counted.rows()) == [(number, number * 2) for number in range(300)]


def test_a_key_deleted_under_the_walk_neither_ends_nor_repeats_it(create):
    counted = create(HASH, ctypes.c_uint32, ctypes.c_uint64, 300)
    for number in range(300):
        counted.update(number, number)
    counted._batches = False
    seen = []
    for key, _ in counted.rows():
        seen.append(key)
        counted.delete(key)
    assert sorted(seen) == list(range(300))


def test_a_kernel_that_refuses_batches_is_asked_once(create, monkeypatch):
    counted = create(HASH, ctypes.c_uint32, ctypes.c_uint64, 8)
    counted.update(1, 2)
    asked = []

    class NoBatches:
        def __getattr__(self, name):
            return getattr(libbpf(), name)

        def bpf_map_lookup_batch(self, *_):
            asked.append(1)
            return -524

    monkeypatch.setattr("obi_core.kernel.maps.libbpf", NoBatches)
    assert (list(counted.rows()), list(counted.rows()), len(asked)) == ([(1, 2)], [(1, 2)], 1)


def cpus():
    return libbpf().libbpf_num_possible_cpus()


def set_per_cpu(counted, key, values):
    raw = b"".join(bytes(value).ljust((ctypes.sizeof(value) + 7) // 8 * 8, b"\0") for value in values)
    result = libbpf().bpf_map_update_elem(counted.fd, bytes(ctypes.c_uint32(key)), raw, 0)
    assert result == 0


@pytest.mark.parametrize("kind", [PERCPU_HASH, PERCPU_ARRAY])
@pytest.mark.parametrize(
    ("value_type", "each", "total"),
    [
        (ctypes.c_uint64, 2**40, lambda n: n * 2**40),
        (ctypes.c_uint32, 2**32 - 1, lambda n: n * (2**32 - 1)),
        (ctypes.c_int32, -5, lambda n: -5 * n),
        (ctypes.c_int64, -(2**40), lambda n: -n * 2**40),
        (ctypes.c_uint8, 200, lambda n: 200 * n),
    ],
)
def test_per_cpu_integers_of_every_width_are_summed_without_wrapping(create, kind, value_type, each, total):
    counted = create(kind, ctypes.c_uint32, value_type, 3)
    for key in range(3):
        set_per_cpu(counted, key, [value_type(each)] * cpus())
    expected = total(cpus())
    assert sorted(counted.rows()) == [(key, expected) for key in range(3)]
    assert counted.lookup(2) == expected


def test_per_cpu_structs_are_summed_member_by_member_and_members_wrap_as_in_c(create):
    counted = create(PERCPU_HASH, ctypes.c_uint32, Wide, 3)
    slots = ctypes.c_uint16 * 3
    for key in (1, 2):
        set_per_cpu(counted, key, [Wide(10 * key + cpu, 255, below=-7, slots=slots(1, 2, 3)) for cpu in range(cpus())])
    n = cpus()
    for key, value in counted.rows():
        assert value.count == n * 10 * key + sum(range(n))
        assert (value.small, value.below, list(value.slots)) == (255 * n % 256, -7 * n, [n, 2 * n, 3 * n])


def test_per_cpu_arrays_of_integers_are_summed_slot_by_slot(create):
    buckets = ctypes.c_uint32 * 7
    counted = create(PERCPU_ARRAY, ctypes.c_uint32, buckets, 2)
    set_per_cpu(counted, 1, [buckets(*range(7))] * cpus())
    rows = dict(counted.rows())
    assert (list(rows[0]), list(rows[1])) == ([0] * 7, [slot * cpus() for slot in range(7)])


def test_a_value_written_to_a_per_cpu_map_is_the_sum_that_is_read(create):
    counted = create(PERCPU_HASH, ctypes.c_uint32, ctypes.c_uint64, 8)
    counted.update(4, 44)
    assert list(counted.rows()) == [(4, 44)]


def test_text_in_a_per_cpu_value_has_no_sum(create):
    counted = create(PERCPU_HASH, ctypes.c_uint32, ctypes.c_char * 16, 8)
    with pytest.raises(ObiError, match=r"map counted: its per-CPU value holds a c_char_Array_16, which has no sum"):
        list(counted.rows())


@pytest.mark.parametrize("kind", [HASH, LRU_HASH, PERCPU_HASH])
def test_take_gives_a_row_once(create, kind):
    counted = create(kind, ctypes.c_uint32, ctypes.c_uint64, 8)
    counted.update(1, 11)
    assert (counted.take(1), counted.take(1), list(counted.rows())) == (11, None, [])


def test_take_works_where_the_kernel_cannot_read_and_delete_in_one_step(create):
    counted = create(LPM_TRIE, ctypes.c_uint64, ctypes.c_uint64, 8, flags=NO_PREALLOC)
    key = 8 | 5 << 32
    counted.update(key, 55)
    assert (counted.take(key), counted.take(key)) == (55, None)


def test_lookup_and_delete_say_whether_the_row_was_there(create):
    counted = create(HASH, Key, ctypes.c_uint32, 8)
    key = Key(1, 2, 0, 3)
    counted.update(key, 9)
    assert (counted.lookup(bytes(key)), counted.lookup(Key())) == (9, None)
    assert (counted.delete(key), counted.delete(key), counted.lookup(key)) == (True, False, None)


def test_rows_outlive_the_next_read(create):
    counted = create(HASH, Key, Wide, 8)
    counted.update(Key(1), Wide(1))
    [(key, value)] = counted.rows()
    counted.update(Key(1), Wide(2))
    assert [(other.number, changed.count) for other, changed in counted.rows()] == [(1, 2)]
    assert (key.number, value.count) == (1, 1)


def test_a_map_without_types_gives_raw_bytes(create):
    counted = create(HASH, ctypes.c_uint32, ctypes.c_uint32, 8, types=(None, None))
    counted.update(b"\1\0\0\0", b"\2\0\0\0")
    assert [(bytes(key), bytes(value)) for key, value in counted.rows()] == [(b"\1\0\0\0", b"\2\0\0\0")]


def test_a_type_of_another_size_than_the_map_is_refused(create):
    counted = create(HASH, ctypes.c_uint32, ctypes.c_uint32, 8, types=(ctypes.c_uint32, ctypes.c_uint64))
    with pytest.raises(DecodeError, match="map counted: record of 4 bytes, its type has 8"):
        list(counted.rows())
    with pytest.raises(DecodeError):
        counted.lookup(1)


def test_a_key_of_another_size_is_refused(create):
    counted = create(HASH, ctypes.c_uint32, ctypes.c_uint32, 8)
    with pytest.raises(DecodeError, match="map counted: record of 2 bytes, its type has 4"):
        counted.lookup(b"ab")


def test_a_full_map_refuses_another_row(create):
    counted = create(HASH, ctypes.c_uint32, ctypes.c_uint32, 1)
    counted.update(1, 1)
    with pytest.raises(KernelError, match="map counted: a row cannot be written") as caught:
        counted.update(2, 2)
    assert caught.value.errno == errno.E2BIG


def test_a_closed_map_is_refused_and_not_mistaken_for_another_file(create):
    counted = create(HASH, ctypes.c_uint32, ctypes.c_uint32, 8)
    rows = counted.rows()
    counted.close()
    counted.close()
    with pytest.raises(KernelError) as caught:
        list(rows)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("kind", [HASH, LRU_HASH, PERCPU_HASH])
def test_entries_are_counted_exactly_where_a_map_can_be_full(create, kind):
    counted = create(kind, Key, ctypes.c_uint64, 16384)
    assert counted.entries() == 0
    for number in range(5_003):
        counted.update(Key(number, 0, 0, 1), 1)
    assert counted.entries() == 5_003


def test_an_array_cannot_be_full(create):
    assert create(ARRAY, ctypes.c_uint32, ctypes.c_uint64, 64).entries() is None
