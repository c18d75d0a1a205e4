"""Tempo and Loki as far as the scripts ask them: what the agent really sent is kept, and questions are answered from it.

The answers' form is that of Tempo 2 and later and of Loki 3. TraceQL and LogQL are read as far as this project's scripts use
them: conditions joined by `&&`; a stream selector, then filters on labels; all with `=`. Anything else is a 400.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from google.protobuf.json_format import MessageToDict

from obi_core.testing.otlp import OtlpReceiver, attributes_of

LOKI_INDEX = {
    "service.name", "service.namespace", "service.instance.id", "deployment.environment", "deployment.environment.name",
    "cloud.region", "cloud.availability_zone", "container.name", "k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name",
    "k8s.container.name", "k8s.deployment.name", "k8s.daemonset.name", "k8s.statefulset.name", "k8s.job.name",
    "k8s.cronjob.name", "k8s.replicaset.name",
}  # fmt: skip
"""Resource attributes that a Loki as it comes makes index labels; only these may stand in a stream selector."""


class Store:
    """A store: an OTLP receiver for what is sent, and an HTTP server for what is asked.

    Args:
        tenant: Who must ask (`X-Scope-OrgID`); another tenant finds nothing, and nobody is refused. None: one tenant.
        clock_off_s: How far its clock is off.
    """

    signal = ""

    def __init__(self, tenant: str | None = None, clock_off_s: float = 0.0) -> None:
        self.receiver = OtlpReceiver((self.signal,))
        self.tenant, self.clock_off_s = tenant, clock_off_s
        self.instead: Callable[[str], tuple[int, str, str] | None] = lambda _: None
        """Gives status, content type and body for a path, to misbehave."""
        self.hidden: Callable[..., bool] | None = None
        """What the store has lost: a predicate over resource and span, or labels and text."""
        self.asked: list[str] = []

    def __enter__(self):
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                store.asked.append(self.path)
                status, kind, body = store.instead(self.path) or store.answer(self)
                data = body.encode()
                self.send_response_only(status)
                self.send_header("Date", formatdate(time.time() + store.clock_off_s, usegmt=True))
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words):
                """Say nothing."""

        self.receiver.__enter__()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        self.receiver.__exit__(*error)

    def answer(self, handler):
        tenant = handler.headers.get("X-Scope-OrgID")
        if self.tenant is not None and tenant is None:
            return 401, "text/plain", "no org id"
        url = urlsplit(handler.path)
        words = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            answer = self.look(url.path, words, nobody=self.tenant is not None and tenant != self.tenant)
        except ValueError as err:
            return 400, "text/plain", str(err)
        if answer is None:
            return 404, "text/plain", "404 page not found"
        return 200, "application/json", json.dumps(answer)

    def look(self, path, words, *, nobody):
        raise NotImplementedError


class Tempo(Store):
    """Search by TraceQL, and traces by id.

    Args:
        hidden_s: What search does not see yet, as `query_end_cutoff`.
    """

    signal = "traces"

    def __init__(self, *, hidden_s: float = 0.0, **store) -> None:
        super().__init__(**store)
        self.hidden_s = hidden_s

    def spans(self) -> Iterator[tuple[object, object]]:
        for received in self.receiver.of("traces"):
            for each in received.message.resource_spans:
                for scope in each.scope_spans:
                    for span in scope.spans:
                        if self.hidden is None or not self.hidden(each.resource, span):
                            yield each.resource, span

    def look(self, path, words, *, nobody):
        if path == "/api/search":
            return self._search(words, [] if nobody else self.spans())
        if path.startswith("/api/traces/"):
            wanted = bytes.fromhex(path.rpartition("/")[2])
            found = [(resource, span) for resource, span in self.spans() if span.trace_id == wanted and not nobody]
            if not found:
                return None
            batches = [
                {"resource": MessageToDict(resource), "scopeSpans": [{"spans": [MessageToDict(span)]}]}
                for resource, span in found
            ]
            return {"batches": batches}
        return None

    def _search(self, words, spans):
        fits = traceql(words["q"])
        until = min(float(words["end"]), time.time() - self.hidden_s) * 1e9
        traces: dict[bytes, list[object]] = {}
        names: dict[bytes, str] = {}
        for resource, span in spans:
            if float(words["start"]) * 1e9 <= span.start_time_unix_nano <= until and fits(resource, span):
                traces.setdefault(span.trace_id, []).append(span)
                names[span.trace_id] = str(attributes_of(resource).get("service.name", ""))
        newest = sorted(traces.items(), key=lambda item: -item[1][0].start_time_unix_nano)[: int(words.get("limit", 20))]
        return {"traces": [self._trace(names[number], number, found) for number, found in newest], "metrics": {}}

    @staticmethod
    def _trace(service, number, spans):
        shown = [
            {
                "spanID": span.span_id.hex(),
                "startTimeUnixNano": str(span.start_time_unix_nano),
                "durationNanos": str(span.end_time_unix_nano - span.start_time_unix_nano),
            }
            for span in spans
        ]
        return {
            "traceID": number.hex().lstrip("0"),  # as Tempo has it
            "rootServiceName": service,
            "rootTraceName": spans[0].name,
            "startTimeUnixNano": str(min(span.start_time_unix_nano for span in spans)),
            "spanSets": [{"spans": shown[:100], "matched": len(spans)}],
        }


def traceql(query):
    """A predicate over a resource and a span."""
    whole = re.fullmatch(r"\s*\{(.*)\}\s*", query)
    if whole is None:
        raise ValueError(f"invalid TraceQL query: {query}")
    conditions = []
    for each in whole[1].split("&&"):
        found = re.fullmatch(r'\s*(name|resource\.[\w.]+|span\.[\w.]+)\s*=\s*"([^"]*)"\s*', each)
        if found is None:
            raise ValueError(f"invalid TraceQL condition: {each}")
        conditions.append(found.groups())

    def fits(resource, span):
        values = {f"span.{name}": value for name, value in attributes_of(span).items()}
        values |= {f"resource.{name}": value for name, value in attributes_of(resource).items()}
        return all(({"name": span.name} | values).get(name) == text for name, text in conditions)

    return fits


class Loki(Store):
    """Log queries over a range.

    Args:
        index: Further resource attributes that are index labels.
    """

    signal = "logs"

    def __init__(self, *, index: tuple[str, ...] = (), **store) -> None:
        super().__init__(**store)
        self.index = LOKI_INDEX | set(index)

    def entries(self):
        """Index labels, all labels, time, and text of each."""
        for received in self.receiver.of("logs"):
            for each in received.message.resource_logs:
                resource = attributes_of(each.resource)
                index = {_label(name): str(value) for name, value in resource.items() if name in self.index}
                index.setdefault("service_name", "unknown_service")
                for scope in each.scope_logs:
                    for record in scope.log_records:
                        more = {**resource, **attributes_of(record), "severity.text": record.severity_text}
                        if record.trace_id:
                            more |= {"trace.id": record.trace_id.hex(), "span.id": record.span_id.hex()}
                        labels = {_label(name): str(value) for name, value in more.items()} | index
                        if self.hidden is None or not self.hidden(labels, record.body.string_value):
                            yield index, labels, record.time_unix_nano, record.body.string_value

    def look(self, path, words, *, nobody):
        if path != "/loki/api/v1/query_range":
            return None
        selects, filters = logql(words["query"])
        streams: dict[str, dict[str, object]] = {}
        found = sorted((each for each in self.entries() if not nobody), key=lambda entry: -entry[2])
        fitting = [
            entry
            for entry in found
            if int(words["start"]) <= entry[2] < int(words["end"])
            and all(entry[0].get(name, "") == text for name, text in selects)
            and all(entry[1].get(name, "") == text for name, text in filters)
        ]
        for _, labels, when, body in fitting[: int(words["limit"])]:
            stream = streams.setdefault(json.dumps(labels, sort_keys=True), {"stream": labels, "values": []})
            stream["values"].append([str(when), body])
        return {"status": "success", "data": {"resultType": "streams", "result": list(streams.values()), "stats": {}}}


def logql(query):
    """Conditions of the selector, and of the filters behind it."""
    whole = re.fullmatch(r'\s*\{((?:[^"}]|"[^"]*")*)\}((?:\s*\|\s*\w+\s*=\s*"[^"]*")*)\s*', query)
    pair = r'(\w+)\s*=\s*"([^"]*)"'
    if whole is None or not re.findall(pair, whole[1]):
        raise ValueError(f"parse error: {query}")
    return re.findall(pair, whole[1]), re.findall(pair, whole[2])


def _label(name):
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)
