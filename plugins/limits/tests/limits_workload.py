"""A known number of failures for want of something: `limits_workload.py STEP NAME [ARG…]`, run as a process of its own name.

Prints `ready`, waits for a line (so that somebody may put it into a cgroup), does its step, prints `done`. Standard library.
"""

import ctypes
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

PR_SET_NAME = 15


def rename(name: str) -> None:
    """Give this process a name of at most 15 characters."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def fails(number: int, call: object, *arguments: object) -> None:
    """Call, and insist on the error."""
    try:
        call(*arguments)  # type: ignore[operator]
    except OSError as error:
        if error.errno == number:
            return
        raise
    raise AssertionError(f"{call} did not fail with {errno.errorcode[number]}")


def eat(megabytes: str) -> None:
    """Touch so much memory, a page each; tell, and hold it until the next line."""
    room = bytearray(int(megabytes) << 20)
    for at in range(0, len(room), 4096):
        room[at] = 1
    say("full")
    sys.stdin.readline()


def descriptors(count: str) -> None:
    """Open one file too many, so often, in three ways in turn."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    ways = (lambda: os.open("/dev/null", os.O_RDONLY), socket.socket, os.pipe)
    for turn in range(1, int(count)):  # the loop above was the first
        fails(errno.EMFILE, ways[turn % 3])


def descriptors_by_name(count: str, prefix: str) -> None:
    """Open one file too many, once under each of so many names."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    for number in range(int(count)):
        rename(f"{prefix}{number}")
        fails(errno.EMFILE, os.open, "/dev/null", os.O_RDONLY)


def forks(count: str) -> None:
    """Fork one process, or start one thread, too many, so often. The group's limit leaves no room for another."""
    thread = threading.Thread(target=int)
    for turn in range(int(count)):
        if turn % 2:
            fails(errno.EAGAIN, os.fork)
            continue
        try:
            thread.start()
        except RuntimeError:  # Python's word for EAGAIN
            continue
        raise AssertionError("a thread was started")


def threads_of_user(count: str) -> None:
    """Fork under RLIMIT_NPROC, which root's capabilities override: as another user."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    os.setresuid(54_321, 54_321, 54_321)
    for _ in range(int(count)):
        fails(errno.EAGAIN, os.fork)


def ports(count: str) -> None:
    """Connect when the only local port there is, is taken. In a network namespace of its own."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40000")
    with socket.create_server(("127.0.0.1", 7)) as server, socket.create_connection(server.getsockname()):
        for _ in range(int(count)):
            with socket.socket() as client:
                fails(errno.EADDRNOTAVAIL, client.connect, server.getsockname())


def storage(fills: str, writes: str, folder: str) -> None:
    """Fail to reserve room in a tiny file system, and to write to it, so often each. In a mount namespace of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    with Path(folder, "full").open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, 64 << 10)
        for _ in range(int(fills)):
            fails(errno.ENOSPC, os.posix_fallocate, file.fileno(), 0, 1 << 20)
        file.seek(64 << 10)
        for _ in range(int(writes)):
            fails(errno.ENOSPC, file.write, b"x")


def watches(count: str) -> None:
    """Watch one file too many, so often. In a user namespace of its own, which has a limit of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    Path("/proc/sys/user/max_inotify_watches").write_text("0")
    inotify = libc.inotify_init1(0)
    for _ in range(int(count)):
        if libc.inotify_add_watch(inotify, b"/", 1) != -1 or ctypes.get_errno() != errno.ENOSPC:
            raise AssertionError("inotify_add_watch did not fail with ENOSPC")


def memory(count: str) -> None:
    """Ask for more address space than there may be."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    for _ in range(int(count)):
        if libc.mmap(None, 2 << 30, 0, 0x22, -1, 0) != ctypes.c_void_p(-1).value or ctypes.get_errno() != errno.ENOMEM:
            raise AssertionError("mmap did not fail with ENOMEM")


def spin(seconds: str) -> None:
    """Use CPU time."""
    while sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) < float(seconds):
        pass


def handle(number: str) -> None:
    """Handle a signal, and say so when it came."""
    came = []
    signal.signal(int(number), lambda *_: came.append(1))
    say("handling")
    while not came:
        signal.pause()


def block(number: str) -> None:
    """Block a signal and wait for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {int(number)})
    say("blocking")
    signal.sigwait({int(number)})


def kill(number: str, *pids: str) -> None:
    """Send a signal to others."""
    for pid in pids:
        os.kill(int(pid), int(number))


def kills(count: str) -> None:
    """Make so many children, and kill them."""
    children = []
    for _ in range(int(count)):
        child = os.fork()
        if not child:
            signal.pause()
        children.append(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def fault() -> None:
    """Read where nothing is."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def wait() -> None:
    """Wait to be told to end."""
    say("waiting")
    sys.stdin.readline()


STEPS = {
    "block": block,
    "descriptors": descriptors,
    "descriptors-by-name": descriptors_by_name,
    "eat": eat,
    "fault": fault,
    "forks": forks,
    "handle": handle,
    "kill": kill,
    "kills": kills,
    "memory": memory,
    "ports": ports,
    "spin": spin,
    "storage": storage,
    "threads-of-user": threads_of_user,
    "wait": wait,
    "watches": watches,
}

if __name__ == "__main__":
    step, own_name, *arguments = sys.argv[1:]
    rename(own_name)
    say("ready")
    sys.stdin.readline()
    STEPS[step](*arguments)  # type: ignore[operator]
    say("done")
