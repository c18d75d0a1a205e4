"""Views: bounded tables that cost nothing while nobody looks."""

from obi_core.bus.views import Views
from obi_core.model import Column, Owner, Row, View
from obi_core.resolver import Subject

TABLE = View("things", "Things.", (Column("name"), Column("size", "By")), order="size")
OTHER = View("others", "Others.", (Column("name"),))


class Names:
    def __init__(self):
        self.asked = []
        self.complete = True

    def resolve(self, owner):
        self.asked.append(owner.tgid)
        return Subject({"process.executable.name": owner.comm}, complete=self.complete)


def row(key, size, view=TABLE, owner=None):
    return Row(view, key, owner, (f"n{key}", size)[: len(view.columns)])


def views(names=None, limit=3):
    made = Views(names or Names(), limit)
    made.register("x", (TABLE, OTHER))
    return made


def keys(table):
    return [row.key for row, _ in table.rows]


def test_a_view_is_wanted_while_somebody_subscribes():
    made = views()
    assert made.wanted("x") == frozenset()
    first, second = made.subscribe("things"), made.subscribe("things")
    assert made.wanted("x") == {"things"}
    assert made.wanted("y") == frozenset()
    first()
    first()
    assert made.wanted("x") == {"things"}
    second()
    assert made.wanted("x") == frozenset()


def test_rows_that_are_not_yielded_again_are_gone():
    made = views()
    made.subscribe("things")
    assert made.table("things") is None
    made.replace("x", [row(1, 10), row(2, 20)])
    assert keys(made.table("things")) == [1, 2]
    made.replace("x", [row(2, 20)])
    assert keys(made.table("things")) == [2]
    made.replace("x", [])
    assert made.table("things").rows == ()


def test_only_subscribed_views_are_kept_and_the_last_subscriber_takes_the_table_along():
    made = views()
    end = made.subscribe("things")
    made.replace("x", [row(1, 10), row(7, 1, OTHER)])
    assert made.table("others") is None
    end()
    assert made.table("things") is None


def test_a_full_table_keeps_the_largest_and_says_how_many_it_missed():
    made = views()
    made.subscribe("things")
    made.subscribe("others")
    made.replace("x", [row(n, None if n == 3 else n) for n in range(6)] + [row(n, 0, OTHER) for n in range(4)])
    assert keys(made.table("things")) == [5, 4, 2]
    assert made.table("things").missed == 3
    assert keys(made.table("others")) == [0, 1, 2]
    assert made.table("others").missed == 1


def test_an_owner_is_resolved_once_per_row_and_again_only_while_incomplete():
    names = Names()
    made = views(names)
    made.subscribe("things")
    owner = Owner(5, 1, 1, "sh")
    names.complete = False
    made.replace("x", [row(1, 10, owner=owner), row(2, 10)])
    names.complete = True
    for _ in range(3):
        made.replace("x", [row(1, 10, owner=owner), row(2, 10)])
    assert names.asked == [5, 5]
    assert [dict(subject) for _, subject in made.table("things").rows] == [{"process.executable.name": "sh"}, {}]


def test_a_probe_that_stops_leaves_no_rows():
    made = views()
    made.subscribe("things")
    made.replace("x", [row(1, 10)])
    made.clear("x")
    assert made.table("things") is None
    assert made.all() == (TABLE, OTHER)
