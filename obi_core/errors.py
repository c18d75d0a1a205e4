"""Every exception that OBI raises on purpose.

    ObiError                    anything below; `exit_status` is what the program ends with
    ├── ConfigError             a file, variable or flag is wrong: file, line, key        (2)
    ├── HostError               this machine lacks something: the sentence names it       (1)
    ├── PluginError             a plugin cannot be used: plugin, dist, reason             (1)
    ├── KernelError             the kernel refused
    │   ├── LoadError           a program or map would not load: program, section, errno  (1)
    │   └── AttachError         a loaded program would not attach                         (1)
    └── DecodeError             bytes from the kernel do not fit their BTF type

An error carries data and one sentence that names the next step. It reports our requirement and the raw errno; it never
passes a library's guess on as fact.
"""

import errno as _errno
from typing import ClassVar


def errno_name(number: int) -> str:
    """Name an errno: `EPERM` for 1 or -1; the plain number where the platform has no name."""
    return _errno.errorcode.get(abs(number), str(abs(number)))


class ObiError(Exception):
    """Base of all errors that OBI raises on purpose; its text is one sentence for the person at the terminal."""

    exit_status: ClassVar[int] = 1


class ConfigError(ObiError):
    """A configuration value is wrong.

    Args:
        message: What is wrong and the next step.
        file: The file or the variable it stands in, as the user wrote it.
        line: Line in `file`, from 1.
        key: Dotted path of the setting.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None, key: str | None = None) -> None:
        self.message, self.file, self.line, self.key = message, file, line, key
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(f"{where}{message}")


class HostError(ObiError):
    """This machine lacks something that OBI needs; the sentence names it and the remedy."""


class PluginError(ObiError):
    """A plugin cannot be used.

    Args:
        message: What is wrong and the next step.
        plugin: Entry-point name.
        dist: Distribution that announced it, as far as known.
    """

    def __init__(self, message: str, *, plugin: str, dist: str | None = None) -> None:
        self.plugin, self.dist = plugin, dist
        super().__init__(f"plugin {plugin}{f' ({dist})' if dist else ''}: {message}")


class KernelError(ObiError):
    """The kernel refused an operation.

    Args:
        message: What was asked for.
        program: C function name of the BPF program, empty where a whole object is meant.
        section: ELF section of the program (`tp_btf/inet_sock_set_state`).
        errno: Raw errno, positive; 0 where the kernel was not asked.
        log: The verifier's last meaningful line, empty if it said nothing.
        need: What is missing, in the words of `Mode.needs` (`btf`, `tracefs`, `tp:tcp/tcp_probe`), `hook:NAME` for a hook
            that this kernel lacks, or another word of `kernel.trial` (`object`, `budget`, `memlock`, …); empty where that is
            not known.
    """

    def __init__(
        self, message: str, *, program: str = "", section: str = "", errno: int = 0, log: str = "", need: str = ""
    ) -> None:
        self.message, self.program, self.section, self.errno, self.log, self.need = message, program, section, errno, log, need
        subject = f"{program} ({section}): " if program else ""
        cause = f" [{errno_name(errno)}]" if errno else ""
        super().__init__(f"{subject}{message}{cause}{f': {log}' if log else ''}")


class LoadError(KernelError):
    """A BPF object, program or map would not load."""


class AttachError(KernelError):
    """A loaded BPF program would not attach to its hook."""


class DecodeError(ObiError):
    """Bytes from the kernel do not have the size of their BTF type.

    Args:
        source: Map or ring buffer the bytes came from.
        size: Bytes found.
        expected: Bytes that the type has.
    """

    def __init__(self, source: str, *, size: int, expected: int) -> None:
        self.source, self.size, self.expected = source, size, expected
        super().__init__(f"{source}: record of {size} bytes, its type has {expected}")
