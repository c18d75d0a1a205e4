"""OBI's system calls: how many, how slow, how they fail."""

from dashboards.board import Board, Jump, Panel, Query, Row
from dashboards.promql import WHO, labels_of, legend, name_of, quantile, rate, top
from obi_plugin_syscall import catalogue as syscall

(NAME, ERROR) = labels_of(syscall.NAME, syscall.ERROR)
SPANS = Jump("Slow calls, one by one", "traces", '{ resource.service.name = "obi" && name =~ "syscall .*" }')
EVENTS = Jump("Slow calls as log events", "logs", '{service_name="obi"} | scope_name="obi-plugin-syscall"')

BOARD = Board(
    "obi-syscall",
    "OBI: system calls",
    "What programs ask the kernel for: how often, how long it takes, how it fails, and who asks.",
    subjects=name_of(syscall.CALLS),
    rows=(
        Row(
            "Calls",
            (
                Panel(
                    "Which calls are made the most?",
                    "The ten most frequent system calls; those that the settings do not name are _OTHER.",
                    "cps",
                    (Query(top(rate(syscall.CALLS, by=(NAME,))), legend(NAME)),),
                ),
                Panel(
                    "Who makes the calls?",
                    "The ten processes with the most system calls of every kind.",
                    "cps",
                    (Query(top(rate(syscall.CALLS, by=WHO)), legend(*WHO)),),
                ),
            ),
        ),
        Row(
            "Time",
            (
                Panel(
                    "Which calls are slow?",
                    "The 99th percentile of the ten slowest calls, less those that wait for somebody else. A dot is one slow "
                    "call, and leads to its span.",
                    "s",
                    (Query(top(f"({quantile(0.99, syscall.DURATION, by=(NAME,))})"), legend(NAME)),),
                    jumps=(SPANS, EVENTS),
                    exemplars=True,
                ),
                Panel(
                    "How long does a typical call take?",
                    "The median of the ten calls with the largest one.",
                    "s",
                    (Query(top(f"({quantile(0.5, syscall.DURATION, by=(NAME,))})"), legend(NAME)),),
                ),
                Panel(
                    "Whose calls are slow?",
                    "The 99th percentile over all named calls of the ten slowest processes.",
                    "s",
                    (Query(top(f"({quantile(0.99, syscall.DURATION, by=WHO)})"), legend(*WHO)),),
                    width=24,
                    jumps=(SPANS, EVENTS),
                    exemplars=True,
                ),
            ),
        ),
        Row(
            "Failures",
            (
                Panel(
                    "Which calls fail, and how?",
                    "The ten most frequent failures by call and errno.",
                    "cps",
                    (Query(top(rate(syscall.ERRORS, by=(NAME, ERROR))), legend(NAME, ERROR)),),
                ),
                Panel(
                    "Whose calls fail?",
                    "The ten processes with the most failed calls, by errno.",
                    "cps",
                    (Query(top(rate(syscall.ERRORS, by=(*WHO, ERROR))), legend(*WHO, ERROR)),),
                ),
                Panel(
                    "What share of each call fails?",
                    "Failed calls of all calls, for the ten calls that fail most often.",
                    "percentunit",
                    (
                        Query(
                            top(f"{rate(syscall.ERRORS, by=(NAME,))} / ({rate(syscall.CALLS, by=(NAME,))} > 0)"),
                            legend(NAME),
                        ),
                    ),
                    width=24,
                ),
            ),
        ),
    ),
)
