"""The script that makes the Secret of the OTLP certificates: what it writes, and what it refuses."""

import base64
import ssl
import subprocess
from pathlib import Path

import pytest
import yaml

from obi_core.settings import load_settings

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/k8s/make-otlp-certs.sh"


def made(*arguments):
    done = subprocess.run([SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    status, out, errors = made("--trial", folder / "certs", "collector.example", "--out", folder / "otlp-secret.yaml")
    assert (status, errors) == (0, "")
    assert out.startswith("make-otlp-certs: ")
    return folder


@pytest.fixture(scope="module")
def secret(trial):
    return yaml.safe_load((trial / "otlp-secret.yaml").read_text())


def test_the_secret_is_the_one_that_the_daemonset_mounts(secret, plain):
    assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == ("obi-otlp-certs", "mop-system")
    assert secret["type"] == "kubernetes.io/tls"
    assert sorted(secret["data"]) == ["ca.crt", "tls.crt", "tls.key"]
    (volume,) = [v for v in plain["DaemonSet/obi"]["spec"]["template"]["spec"]["volumes"] if v["name"] == "otlp-certs"]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]


def test_nobody_else_may_read_the_file(trial):
    assert (trial / "otlp-secret.yaml").stat().st_mode & 0o777 == 0o600


def test_agent_and_receiver_believe_each_other(trial, secret, tmp_path):
    for name, value in secret["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(value))
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    client.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(trial / "certs/ca.crt"))
    server.load_cert_chain(trial / "certs/server.crt", trial / "certs/server.key")
    server.verify_mode = ssl.CERT_REQUIRED
    ends = [ssl.MemoryBIO() for _ in range(4)]
    ours = client.wrap_bio(ends[0], ends[1], server_hostname="collector.example")
    theirs = server.wrap_bio(ends[2], ends[3], server_side=True)
    done = set()
    for _ in range(6):
        for end, mine, other in ((ours, ends[1], ends[2]), (theirs, ends[3], ends[0])):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                pass
            other.write(mine.read())
    assert done == {ours, theirs}
    assert theirs.getpeercert()["subject"] == ((("commonName", "obi"),),)


def test_the_authoritys_key_is_gone_once_it_has_signed(trial):
    assert sorted(path.name for path in (trial / "certs").iterdir()) == [
        "ca.crt", "client.crt", "client.key", "server.crt", "server.key",
    ]  # fmt: skip


def test_certificates_that_somebody_issued_are_taken_as_they_are(trial):
    certs = trial / "certs"
    arguments = ("--ca", certs / "ca.crt", "--cert", certs / "client.crt", "--key", certs / "client.key", "--out", "-")
    status, out, errors = made(*arguments)
    assert (status, errors) == (0, "")
    data = yaml.safe_load(out)["data"]
    assert base64.b64decode(data["tls.key"]) == (certs / "client.key").read_bytes()
    assert base64.b64decode(data["tls.crt"]) == (certs / "client.crt").read_bytes()


def test_the_folder_of_the_secret_is_one_that_the_settings_take(secret, tmp_path):
    for name, value in secret["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(value))
    environ = {"OBI_OTLP__TLS_DIR": str(tmp_path), "OBI_OTLP__ENDPOINT": "https://collector.example:4318"}
    export = load_settings(None, environ, {}).core.export("metrics")
    assert export.settings.tls_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give --ca, --cert and --key, or --trial DIR; --help says more"),
        (("--fly", "high"), "no option --fly; --help lists them"),
        (("--ca",), "--ca wants a value, or is no option; --help lists them"),
        (("--ca", "{certs}/client.key", "--cert", "{certs}/client.crt", "--key", "{certs}/client.key"),
         "{certs}/client.key is no certificate in PEM"),
        (("--ca", "{certs}/ca.crt", "--cert", "{certs}/client.crt", "--key", "{certs}/ca.crt"),
         "{certs}/ca.crt is no private key in PEM without a password"),
        (("--ca", "{certs}/ca.crt", "--cert", "{certs}/client.crt", "--key", "{certs}/server.key"),
         "{certs}/server.key is not the key of {certs}/client.crt"),
        (("--trial", "{certs}", "--key", "{certs}/server.key"),
         "--trial makes its own certificates: leave --ca, --cert and --key out"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_secret_is_refused_in_one_line(trial, tmp_path, arguments, sentence):
    certs = trial / "certs"
    filled = [each.format(certs=certs) for each in arguments]
    status, out, errors = made(*filled, "--out", tmp_path / "secret.yaml")
    if len(arguments) == 1:
        status, out, errors = made(*filled)
    assert (status, out, errors) == (2, "", f"make-otlp-certs: {sentence.format(certs=certs)}\n")
    assert not (tmp_path / "secret.yaml").exists()


def test_a_secret_that_is_there_is_not_written_over(trial, tmp_path):
    there = tmp_path / "secret.yaml"
    there.write_text("mine")
    status, _, errors = made("--trial", tmp_path / "certs", "--out", there)
    assert (status, errors) == (2, f"make-otlp-certs: {there} is there already; --force writes over it\n")
    assert there.read_text() == "mine"
