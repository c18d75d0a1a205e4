"""Paths of cgroups as the runtimes make them."""

from pathlib import PurePosixPath

import pytest

from obi_core.identity.containers import Place, place_of

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
UID = "6c1a2f0e-9d5b-4a77-8a55-0f3d2b1c4e5f"
UID_ = UID.replace("-", "_")
HASH = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        # Kubernetes, systemd driver
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope",
            Place("containerd", ID, UID),
        ),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope", Place("cri-o", ID, UID)),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope/container", Place("cri-o", ID, UID)),
        (
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/docker-{ID}.scope",
            Place("docker", ID, UID),
        ),
        (f"/kubepods.slice/kubepods-burstable-pod{UID_}.slice", Place(pod_uid=UID)),
        # Kubernetes, cgroupfs driver
        (f"/kubepods/burstable/pod{UID}/{ID}", Place("containerd", ID, UID)),
        (f"/kubepods/pod{UID}/{ID}", Place("containerd", ID, UID)),
        (f"/kubepods/besteffort/pod{HASH}/{ID}", Place("containerd", ID, HASH)),
        (f"/kubepods/burstable/pod{UID}/crio-{ID}", Place("cri-o", ID, UID)),
        # a node that is a container itself: the innermost counts
        (
            f"/system.slice/docker-{OTHER}.scope/kubelet.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope",
            Place("containerd", ID, UID),
        ),
        (f"/docker/{OTHER}/kubelet/kubepods/pod{UID}/{ID}", Place("containerd", ID, UID)),
        # without Kubernetes
        (f"/docker/{ID}", Place("docker", ID)),
        (f"/system.slice/docker-{ID}.scope", Place("docker", ID)),
        (f"/system.slice/docker-{ID}.scope/init.scope", Place("docker", ID)),
        (f"/system.slice/docker-{ID}.scope/system.slice/nginx.service", Place("docker", ID)),
        (f"/system.slice/nerdctl-{ID}.scope", Place("containerd", ID)),
        (f"/machine.slice/libpod-{ID}.scope", Place("podman", ID)),
        (f"/machine.slice/libpod-{ID}.scope/container", Place("podman", ID)),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container", Place("podman", ID)),
        (f"/libpod_parent/libpod-{ID}", Place("podman", ID)),
        (f"/ecs/{HASH}/{HASH}-4211", Place("ecs", f"{HASH}-4211")),
        ("/lxc/web-1", Place("lxc", "web-1")),
        ("/lxc.payload.web-1/system.slice/cron.service", Place("lxc", "web-1")),
        ("/machine.slice/machine-deb\\x2d12.scope", Place("nspawn", "deb-12")),
        # systemd
        ("/system.slice/nginx.service", Place(unit="nginx.service")),
        ("/system.slice/system-getty.slice/getty@tty1.service", Place(unit="getty@tty1.service")),
        ("/system.slice/dev-disk-by\\x2duuid.swap", Place(unit="dev-disk-by-uuid.swap")),
        ("/user.slice/user-0.slice/session-3.scope", Place(unit="session-3.scope")),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1.scope",
            Place(unit="vte-spawn-1.scope"),
        ),
        (
            "/system.slice/system-systemd\\x2dfsck.slice/systemd-fsck@dev-vda1.service",
            Place(unit="systemd-fsck@dev-vda1.service"),
        ),
        ("/init.scope", Place(unit="init.scope")),
        # nothing that is known
        ("/", Place()),
        ("/process_api/40ac2eb656e6ed531d2d13276990dc4c", Place()),
        (f"/{ID}", Place()),
        ("/user.slice", Place()),
        (f"/machine.slice/libpod-conmon-{ID}.scope", Place(unit=f"libpod-conmon-{ID}.scope")),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{ID}.scope", Place(pod_uid=UID)),
        ("/pod-of-peas/podium/x", Place()),
        ("/grün 日本/\x1b[31m/..", Place()),
        ("/docker/tooshort", Place()),
    ],
)
def test_a_path_names_its_container_pod_or_unit(path, place):
    assert place_of(PurePosixPath(path)) == place
