"""A bounded bit of everything that the probes watch, on loopback: `dashboard_workload.py NAME ROUNDS GROUP...`.

GROUP: folders of one cgroup, which a child of each round enters to be throttled, refused a fork, and once killed for want of
memory. A round takes half a second, so that rates have something between any two exports. Standard library only.
"""

import contextlib
import ctypes
import errno
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

NAME, ROUNDS, GROUP = sys.argv[1], int(sys.argv[2]), tuple(map(Path, sys.argv[3:]))
HOST = "127.0.0.1"
RESOLVER = ("127.53.53.53", 53)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def resolve():
    """Answer DNS: names that begin with `no` do not exist."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(RESOLVER)
        ready.set()
        while True:
            asked, peer = server.recvfrom(512)
            code = 3 if asked[13:15] == b"no" else 0
            server.sendto(asked[:2] + struct.pack("!H", 0x8180 | code) + asked[4:], peer)


def ask(label, times=1):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        message = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + bytes([len(label)]) + label + b"\0\0\1\0\1"
        for _ in range(times):
            client.sendto(message, RESOLVER)
        for _ in range(times):
            client.recv(512)


def connect(server, *, reset=False):
    with socket.create_connection(server.getsockname()) as client:
        peer, _ = server.accept()
        with peer:
            client.sendall(bytes(32_768))
            left = 32_768
            while left:
                left -= len(peer.recv(left))
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                client.close()


def datagrams():
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.bind((HOST, 0))
        address = receiver.getsockname()
        for _ in range(5):
            sender.sendto(bytes(100), address)
            receiver.recv(100)
        receiver.close()
        sender.sendto(bytes(100), address)  # to nobody: dropped


def child(work):
    """Do something in a process that may be killed for it."""
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    os.waitpid(pid, 0)


def confined(round_number):
    for folder in GROUP:
        (folder / "cgroup.procs").write_text("0")
    began = time.process_time()
    while time.process_time() - began < 0.02:
        pass
    for _ in range(2):  # the group may have one process
        with contextlib.suppress(BlockingIOError):
            if not os.fork():
                os._exit(0)
    if round_number == 1:
        room = bytearray(64 << 20)
        for at in range(0, len(room), 4096):
            room[at] = 1


def used_up():
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    failed, held = 0, []
    while failed < 3:
        try:
            held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            failed += 1


def killed():
    os.kill(os.getpid(), signal.SIGTERM)


def turn(number, server, silent):
    for _ in range(3):
        connect(server)
    connect(server, reset=True)
    with contextlib.suppress(ConnectionRefusedError), socket.socket() as client:
        client.connect(silent)
    datagrams()
    ask(b"fine")
    ask(b"nothing")
    ask(b"again", times=2)
    for _ in range(10):
        with contextlib.suppress(FileNotFoundError):
            os.open("/no/such/file/anywhere", os.O_RDONLY)
    child(used_up)
    child(killed)
    if GROUP:
        child(lambda: confined(number))


ctypes.CDLL(None).prctl(15, NAME.encode(), 0, 0, 0)
ready = threading.Event()
threading.Thread(target=resolve, daemon=True).start()
ready.wait(5)
with socket.create_server((HOST, 0)) as server, socket.socket() as silent, socket.create_connection(server.getsockname()):
    silent.bind((HOST, 0))  # and does not listen
    server.accept()[0].detach()  # one that stays open
    for number in range(ROUNDS):
        turn(number, server, silent.getsockname())
        time.sleep(0.5)
