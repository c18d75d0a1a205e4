"""What a sock_diag dump costs with the plain reader and with pyroute2: `.venv/bin/python tests/bench/sock_diag.py`.

Opens some connections to itself, then dumps them in a fresh interpreter each way: µs per socket, and the memory that the
interpreter took for it. The ratio of the two is what docs/adr/0005 is about.
"""

import contextlib
import socket
import subprocess
import sys

CONNECTIONS = 400
READERS = {
    "plain socket": """
from obi_plugin_tcp.without_bpf.netlink import connections
dump = lambda: sum(1 for _ in connections())
""",
    "pyroute2": """
from pyroute2.netlink.diag import DiagSocket
def dump():
    with DiagSocket() as diag:
        diag.bind()
        return sum(1 for family in (2, 10) for _ in diag.get_sock_stats(family=family, states=0x3FF, extensions=0xFF))
""",
}
MEASURE = """
import time
def rss(): return int(open("/proc/self/statm").read().split()[1]) * 4
import obi_core.settings, obi_core.model
before = rss()
{reader}
dump()
began = time.process_time()
found = sum(dump() for _ in range(5))
each = 1e6 * (time.process_time() - began) / found
print(f"{{each:.1f}} us a socket, {{(rss() - before) / 1024:.1f}} MB, {{found // 5}} sockets")
"""


def main() -> None:
    with contextlib.ExitStack() as held:
        server = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS))
        for _ in range(CONNECTIONS):
            held.enter_context(socket.create_connection(server.getsockname()))
            held.enter_context(server.accept()[0])
        for name, reader in READERS.items():
            code = MEASURE.format(reader=reader)
            done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
            print(f"{name:14} {done.stdout.strip()}")


if __name__ == "__main__":
    main()
