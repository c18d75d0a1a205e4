"""A container of the manifests, run by podman: the same arguments, environment, capabilities, mounts, limits, seccomp profile.

What podman cannot take as a manifest has it is done as a kubelet does it: ConfigMaps and Secrets become folders, `emptyDir` a
tmpfs, the downward API plain text. A path of the node may be another folder, so that a test leaves the node's alone.
"""

import base64
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What a machine without SYS_RESOURCE can give, and runc, which works with cgroup v1 too.
PODMAN = ("podman", "--runtime", "/usr/sbin/runc", "--cgroup-manager", "cgroupfs")
NODE = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096")
DOWNWARD = {
    "spec.nodeName": "node-1",
    "metadata.namespace": "mop-system",
    "metadata.name": "obi-x7k2p",
    "metadata.uid": "0b1f9f6e-6f0e-4f1e-8f3c-0d2b8a3f7c11",
}
TERMINATION_BYTES, TERMINATION_LINES = 2048, 80


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    errors: str

    @property
    def termination(self) -> str:
        """What the cluster keeps as the reason, by FallbackToLogsOnError: the end of the log, if it failed."""
        if self.status == 0:
            return ""
        lines = (self.out + self.errors).splitlines()[-TERMINATION_LINES:]
        return "\n".join(lines)[-TERMINATION_BYTES:]


@dataclass
class Running:
    name: str
    process: "subprocess.Popen[str]"
    folder: Path

    def exec(self, *command: str, check: bool = False) -> Done:
        done = subprocess.run([*PODMAN, "exec", self.name, *command], capture_output=True, text=True, check=False, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def get(self, path: str, port: int = 8080) -> tuple[int, str]:
        done = self.exec(
            "curl", "--silent", "--max-time", "5", "--write-out", "\n%{http_code}", f"http://127.0.0.1:{port}{path}"
        )
        body, _, status = done.out.rpartition("\n")
        return int(status or 0), body

    def ready(self, timeout_s: float = 60) -> dict[str, Any]:
        """Wait until it is ready, as the kubelet does, and until every probe has found its place."""
        end = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < end:
            status, body = self.get("/ready")
            if status == 200:
                document: dict[str, Any] = json.loads(body)
                if not {probe["state"] for probe in document["probes"].values()} & {"discovered", "loaded"}:
                    return document
            time.sleep(0.2)
        raise AssertionError(f"not ready; its log ends with {self.log()[-2000:]}")

    def pid(self) -> int:
        done = subprocess.run(
            [*PODMAN, "inspect", "--format", "{{.State.Pid}}", self.name], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def kill(self) -> None:
        """As a node's power cut does."""
        subprocess.run([*PODMAN, "kill", "--signal", "KILL", self.name], check=True, capture_output=True)
        self.process.wait(20)


@dataclass
class Pod:
    """A pod of a template, with folders for its volumes.

    Args:
        objects: Where its ConfigMaps are.
        template: Of the pod.
        image: What runs instead of the image that it names.
        folder: For what the volumes hold.
        paths: Folders that stand in for paths of the node; the others are the node's own. None: nothing is mounted there.
        seccomp: A profile's file; None: the runtime's default.
    """

    objects: Any
    template: Mapping[str, Any]
    image: str
    folder: Path
    paths: Mapping[str, Path | None] = field(default_factory=dict)
    seccomp: Path | None = None

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.template["spec"]

    def container(self, name: str) -> Mapping[str, Any]:
        (found,) = [each for each in (*self.spec["initContainers"], *self.spec["containers"]) if each["name"] == name]
        return found

    def options(self, name: str, env: Mapping[str, str]) -> list[str]:
        """Of `podman run`."""
        container = self.container(name)
        context = {**self.spec["securityContext"], **container["securityContext"]}
        given = ["--user", f"{context['runAsUser']}:{context['runAsGroup']}", *NODE]
        given += ["--entrypoint", container["command"][0]] if "command" in container else []
        given += ["--pid", "host"] if self.spec.get("hostPID") else []
        given += ["--read-only", "--read-only-tmpfs=false"] if context["readOnlyRootFilesystem"] else []
        given += [f"--cap-drop={each.lower()}" for each in context["capabilities"]["drop"]]
        given += [f"--cap-add={each}" for each in context["capabilities"].get("add", ())]
        given += [] if context["allowPrivilegeEscalation"] else ["--security-opt", "no-new-privileges"]
        given += ["--security-opt", f"seccomp={self.seccomp}"] if self.seccomp else []
        given += ["--memory", container["resources"]["limits"]["memory"].replace("Mi", "m")]
        for entry in container.get("env", ()):
            value = entry.get("value") or DOWNWARD[entry["valueFrom"]["fieldRef"]["fieldPath"]]
            given += ["--env", f"{entry['name']}={value}"]
        given += [word for key, value in env.items() for word in ("--env", f"{key}={value}")]
        return given + [word for mount in container["volumeMounts"] for word in self.mount(mount)]

    def arguments(self, name: str) -> list[str]:
        container = self.container(name)
        return [*container.get("command", ())[1:], *container.get("args", ())]

    def mount(self, mount: Mapping[str, Any]) -> Sequence[str]:
        (volume,) = [each for each in self.spec["volumes"] if each["name"] == mount["name"]]
        if "emptyDir" in volume:
            return ("--tmpfs", mount["mountPath"])
        if "hostPath" in volume:
            path = self.paths.get(volume["hostPath"]["path"], Path(volume["hostPath"]["path"]))
        else:
            path = self.folder / volume["name"]
            self.fill(path, volume)
        if path is None:
            return ()
        options = ["ro" if mount.get("readOnly") else "rw"]
        options += ["rslave"] if mount.get("mountPropagation") == "HostToContainer" else []
        return ("--volume", f"{path}:{mount['mountPath']}:{','.join(options)}")

    def fill(self, folder: Path, volume: Mapping[str, Any]) -> None:
        """What the kubelet writes; what a test has written there stays."""
        if folder.exists():
            return
        folder.mkdir(parents=True)
        sources = volume["projected"]["sources"] if "projected" in volume else [volume]
        for source in sources:
            if "secret" in source:
                name, items = source["secret"]["secretName"], None
                data = {key: base64.b64decode(text).decode() for key, text in self.secret(name).items()}
            else:
                name, items = source["configMap"]["name"], source["configMap"].get("items")
                data = self.objects[f"ConfigMap/{name}"]["data"]
            chosen = {entry["key"]: entry["path"] for entry in items} if items else {key: key for key in data}
            for key, path in chosen.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(data[key])

    def secret(self, name: str) -> Mapping[str, str]:
        return self.objects[f"Secret/{name}"]["data"] if f"Secret/{name}" in self.objects else {}

    def run(self, name: str, *arguments: str, **env: str) -> Done:
        """Run a container to its end."""
        command = [*PODMAN, "run", "--rm", "--network", "none", *self.options(name, env), self.image]
        done = subprocess.run(
            [*command, *(arguments or self.arguments(name))], capture_output=True, text=True, check=False, timeout=90
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, name: str, unique: str, **env: str) -> Iterator[Running]:
        """Run a container until the block ends, with SIGTERM then."""
        command = [*PODMAN, "run", "--rm", "--name", unique, "--network", "none", *self.options(name, env), self.image]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("w") as log:
            process = subprocess.Popen([*command, *self.arguments(name)], stdout=log, stderr=log, text=True)
            try:
                yield Running(unique, process, self.folder)
            finally:
                if process.poll() is None:
                    subprocess.run([*PODMAN, "stop", "--time", "20", unique], check=False, capture_output=True)
                process.wait(30)
