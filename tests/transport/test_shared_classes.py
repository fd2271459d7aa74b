"""Objects: the table keeps what both sides know, and what is in it travels as a position."""

from __future__ import annotations

import io
import pickle
import types
from typing import Any

import numpy as np
import pytest

from pdparallel.transport.pickler import ByValuePickler, travels_by_value
from pdparallel.transport.shared_classes import SharedTable, dump, load


def test_a_table_gives_each_object_one_position() -> None:
    table = SharedTable()
    first, second = type("First", (), {}), type("Second", (), {})
    assert [table.add(first), table.add(second), table.add(first)] == [0, 1, 0]
    assert (table.find(second), table.find(int)) == (1, None)
    assert table.objects == [first, second]


def test_objects_that_are_equal_have_positions_of_their_own() -> None:
    class Same(type):
        def __eq__(cls, other: object) -> bool:
            return True

        __hash__ = type.__hash__

    one, other = Same("One", (), {}), Same("Other", (), {})
    table = SharedTable([one])
    assert table.find(other) is None


def test_the_same_position_names_the_original_and_its_copy() -> None:
    original, copy = type("Thing", (), {}), type("Thing", (), {})
    thing = original()
    thing.x = [1]
    here, there = SharedTable(), SharedTable([copy])
    data = dump([thing, original], here, grow=True)
    arrived, kind = load(data, there)
    assert (type(arrived), kind, arrived.x) == (copy, copy, [1])
    back, kind = load(dump([arrived, kind], there), here)
    assert (type(back), kind, back.x) == (original, original, [1])


def test_without_grow_the_table_stays() -> None:
    table = SharedTable()

    def local() -> int:
        return 5

    copy = load(dump(local, table), table)
    assert table.objects == []
    assert copy is not local
    assert copy() == 5


def test_functions_go_by_position_too() -> None:
    table = SharedTable()
    func = lambda: 5
    assert load(dump({"f": func}, table, grow=True), table)["f"] is func


def test_what_can_be_imported_needs_no_table() -> None:
    table = SharedTable()
    assert load(dump([np.sqrt, dict, io.StringIO, travels_by_value], table, grow=True), table)[0] is np.sqrt
    assert table.objects == []


def test_plain_data_takes_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ByValuePickler, "dump", lambda *args: pytest.fail("the slow pickler was used"))
    thing = type("Thing", (), {})()
    for value in ([1.5, "a", None], {"x": np.arange(3)}, np.float64(1)):
        assert repr(load(dump(value, SharedTable()), SharedTable())) == repr(value)
    dump(thing, SharedTable(), grow=True)


def test_buffers_stay_out_also_on_the_slow_way() -> None:
    array = np.arange(1000)
    for value in (array, [array, (lambda: 1)]):
        buffers: list[pickle.PickleBuffer] = []
        data = dump(value, SharedTable(), buffer_callback=buffers.append)
        assert [buffer.raw().nbytes for buffer in buffers] == [array.nbytes]
        assert len(data) < 4000
        loaded = load(data, SharedTable(), [buffer.raw() for buffer in buffers])
        found = loaded if isinstance(loaded, np.ndarray) else loaded[0]
        assert found.tolist() == array.tolist()


def test_a_value_that_fails_halfway_on_the_quick_way_gives_no_buffer_twice() -> None:
    buffers: list[Any] = []
    dump([np.arange(10), lambda: 1, np.arange(10)], SharedTable(), buffer_callback=buffers.append)
    assert len(buffers) == 2


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (int, False),
        (type(None), False),
        (types.GeneratorType, False),
        (np.ndarray, False),
        (pickle.Pickler, False),
        (len, False),
        (5, False),
        (pickle.dumps, False),
        (travels_by_value, False),
        (io.StringIO, False),
        (lambda: 1, True),
        (type("Made", (), {}), True),
    ],
)
def test_what_travels_by_value(obj: Any, expected: bool) -> None:
    assert travels_by_value(obj) is expected


def test_a_class_whose_name_leads_elsewhere_travels_by_value() -> None:
    assert travels_by_value(type("OrderedDict", (), {"__module__": "collections"}))
    assert travels_by_value(type("Thing", (), {"__module__": "no.such.module"}))
    assert travels_by_value(type("Thing", (), {"__module__": "__main__"}))


def test_an_object_of_the_main_script_is_not_turned_into_one_of_another_class_of_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import __main__

    newer = type("Thing", (), {"__module__": "__main__"})
    older = type("Thing", (), {"__module__": "__main__"})
    monkeypatch.setattr(__main__, "Thing", newer, raising=False)
    table = SharedTable()
    assert type(load(dump(older(), table, grow=True), table)) is older


def test_a_class_that_only_the_other_side_has_is_refused_with_a_clear_error() -> None:
    data = dump(type("Thing", (), {})(), SharedTable(), grow=True)
    with pytest.raises(IndexError):
        load(data, SharedTable())
