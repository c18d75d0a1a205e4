"""Parts that read one thing each: files that are kept open, programs with many descriptors, queues of listening sockets."""

import socket
import sys
from pathlib import Path

import pytest

from obi_plugin_limits.files import listeners
from obi_plugin_limits.files.descriptors import Holders
from obi_plugin_limits.files.groups import Group
from obi_plugin_limits.files.kept import KeptFiles

ID = "0123456789abcdef" * 4


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_file_of_a_group_that_was_made_anew_is_opened_anew(tmp_path):
    kept = KeptFiles(10, lambda *_: None)
    file = tmp_path / "memory.current"
    file.write_text("1")
    assert kept.read(str(file)) == "1"
    file.write_text("22")
    assert (kept.read(str(file)), len(kept)) == ("22", 1)
    kept.forget(str(tmp_path))
    assert len(kept) == 0
    file.unlink()
    assert kept.read(str(file)) is None
    kept.close()


def test_a_listening_socket_with_a_full_queue_is_the_fullest(tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=3) as server:
        address = server.getsockname()
        clients = [socket.create_connection(address) for _ in range(3)]
        try:
            levels = {level.port: level for level in listeners.fullest(listeners.listeners(), 1_000)}
            (fullest,) = listeners.fullest(listeners.listeners(), 1)
        finally:
            for client in clients:
                client.close()

    assert (levels[address[1]].usage, levels[address[1]].limit) == (3, 3)
    assert fullest.usage / fullest.limit >= 1


@pytest.mark.parametrize(
    "data",
    [(20).to_bytes(4, sys.byteorder) + (20).to_bytes(2, sys.byteorder) + bytes(14)],
)
def test_a_short_answer_of_sock_diag_is_an_error_not_a_loop(data):
    with pytest.raises(OSError, match="a message of 20 bytes"):
        listeners._parse(data, [])


def test_the_worst_process_of_each_program_stands_for_it(tmp_path):
    for pid, name, opened, limit in ((1, "web", 3, 10), (2, "web", 9, 10), (3, "db", 1, 100), (4, "idle", 0, 0)):
        write(
            tmp_path / str(pid),
            {
                "limits": f"Limit  Soft Limit  Hard Limit  Units\nMax open files    {limit or 'unlimited'}   4096   files\n",
                "comm": f"{name}\n",
                **{f"fd/{number}": "" for number in range(opened)},
            },
        )
        (tmp_path / str(pid) / "fd").mkdir(exist_ok=True)
    holders = Holders(tmp_path, 2, 3)
    holders._open_files = lambda directory: len([*Path(directory, "fd").iterdir()])
    first = {source.label: (level.usage, level.limit) for source, level in holders.look()}
    (tmp_path / "2/comm").unlink()
    second = {source.label: (level.usage, level.limit) for source, level in holders.look()}
    third = {source.label: (level.usage, level.limit) for source, level in holders.look()}

    assert first == {"web": (9, 10), "db": (1, 100)}
    assert third == {"web": (3, 10), "db": (1, 100)}
    assert second in (first, third)


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/system.slice/a.service", False),
        ("/system.slice/a.service/b", True),
        (f"/docker/{ID}", False),
        (f"/docker/{ID}/x", True),
        ("/user.slice/user-0.slice", False),
        ("/lxc/web", True),
    ],
)
def test_whose_name_a_group_shares(path, inside):
    assert Group(path, 1, {}).is_inside is inside
