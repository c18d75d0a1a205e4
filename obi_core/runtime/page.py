"""The page at `/`: what `/status` says, for a person with a browser. No script, nothing from elsewhere, everything escaped."""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from ipaddress import ip_address
from typing import Final

HEADERS: Final = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
_STYLE: Final = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2em;max-width:75em}"
    "table{border-collapse:collapse;margin:.5em 0 1.5em}th,td{text-align:left;padding:.2em 1.2em .2em 0;vertical-align:top}"
    "th{font-weight:600;border-bottom:1px solid}td.n{text-align:right;font-variant-numeric:tabular-nums}"
)
_HOST: Final = re.compile(r"(?:\[(?P<six>[^]]*)]|(?P<name>[^:]*))(?::[0-9]*)?")
_PERCENT: Final = 100
_MB: Final = 1e6


def named(header: str) -> str:
    """Give the name or address in a Host header, without its port."""
    found = _HOST.fullmatch(header.strip())
    return (found["six"] or found["name"] if found else header.strip()).rstrip(".").lower()


def known(header: str, hosts: Iterable[str]) -> bool:
    """Whether a Host header may ask for the page.

    An address may, and `localhost`: a page of somebody else's that has its own name point at us sends that name.

    Args:
        header: As it came.
        hosts: Further names, of the settings.
    """
    name = named(header)
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return name == "localhost" or name in {host.lower().rstrip(".") for host in hosts}
    return True


def page(health: Mapping[str, object], ready: Mapping[str, object], document: Mapping[str, object], header: str) -> str:
    """Write the page.

    Args:
        health: The document of `/health`.
        ready: That of `/ready`.
        document: That of `/status`.
        header: The Host header; the link to the metrics leads to the same host.
    """
    host = named(header)
    probes, budgets = _of(document, "probes"), _of(document, "budgets")
    node, costs = _of(document, "node"), _of(budgets, "probes")
    port = str(_of(document, "metrics").get("listen", "")).rpartition(":")[2]
    name = f"[{host}]" if ":" in host else host
    links = ["/health", "/ready", "/status", *([f"//{name}:{port}/metrics"] if port.isdecimal() else [])]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<meta http-equiv=refresh content=10><title>OBI</title><style>{_STYLE}</style><h1>OBI</h1>",
        _paragraph(
            f"version {document.get('version', '')}, kernel {node.get('kernel', '')}; "
            f"{'ready' if ready.get('ready') else 'not ready'}; its loop turned {health.get('loop_age_s', '?')} s ago"
        ),
        "<p>" + " ".join(f"<a href='{escape(link)}'>/{escape(link.rpartition('/')[2])}</a>" for link in links) + "</p>",
        "<h2>Probes</h2>",
        _table(
            ("probe", "state", "reason", "mode", "loses", "costs less", "detail"), [_stands(*each) for each in probes.items()]
        ),
        "<h2>Budgets</h2>",
        _paragraph(_whole(budgets)),
        _table(
            ("probe", "kernel, CPUs", "agent, CPUs", "maps, MB", "series", "events/s", "nearest budget", "used"),
            [_costs(*each) for each in costs.items()],
        ),
        "<h2>Losses</h2>",
        _table(("probe", "place", "entries"), list(_losses(probes))) if any(_losses(probes)) else "<p>none</p>",
        "</html>\n",
    ]
    return "".join(parts)


def _of(document: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def _stands(name: str, probe: object) -> Sequence[str]:
    status = probe if isinstance(probe, Mapping) else {}
    sheds = _of(status, "sheds").get("steps")
    lists = [", ".join(map(str, each)) if isinstance(each, list) else "" for each in (status.get("loses"), sheds)]
    return (name, *(str(status.get(key, "")) for key in ("state", "reason", "mode")), *lists, str(status.get("detail", "")))


def _whole(budgets: Mapping[str, object]) -> str:
    numbers = {name: value for name, value in budgets.items() if isinstance(value, (int, float))}
    if "cpus" not in numbers:
        return "nothing is measured yet"
    over = budgets.get("over")
    return (
        f"{numbers['cpus']:.4f} of {numbers['cpus_allowed']:.3g} CPUs, "
        f"{numbers['memory_bytes'] / _MB:.1f} of {numbers['memory_allowed_bytes'] / _MB:.0f} MB"
        + (f"; over: {', '.join(map(str, over))}" if isinstance(over, list) and over else "")
        + ("" if budgets.get("enforced") else "; not enforced")
        + f"; cost in the kernel: {budgets.get('kernel_cost', '')}"
    )


def _costs(name: str, cost: object) -> Sequence[str]:
    of = cost if isinstance(cost, Mapping) else {}

    def number(key: str, form: str, unit: float = 1) -> str:
        value = of.get(key)
        return format(value / unit, form) if isinstance(value, (int, float)) else "not known"

    figures = (
        number("kernel_cpus", ".4f"),
        number("user_cpus", ".4f"),
        number("map_bytes", ".1f", _MB),
        number("series", ".0f"),
    )
    used = number("used", ".1f", 1 / _PERCENT)
    return (name, *figures, number("events_per_s", ".1f"), str(of.get("nearest_budget", "")), f"{used} %")


def _losses(probes: Mapping[str, object]) -> Iterable[Sequence[str]]:
    for name, probe in probes.items():
        lost = _of(probe, "lost") if isinstance(probe, Mapping) else {}
        yield from ((name, place, str(number)) for place, number in lost.items() if number)


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(kind: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    return "<table>" + line("th", head) + "".join(line("td", row) for row in rows) + "</table>"
