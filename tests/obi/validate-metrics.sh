#!/bin/bash
# Ask a store of metrics whether OBI's are there, current, complete and named as dashboards want them.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd) || exit 3
# shellcheck source=tests/obi/lib.sh
. "$HERE/lib.sh" || exit 3
# shellcheck source=tests/obi/ask.sh
. "$HERE/ask.sh" || exit 3

PROBES=${OBI_PROBES:-}
NODES=${OBI_NODES:-}
LABELS=${OBI_LABELS:-}

usage() {
	cat <<-END
		Usage: $SCRIPT [FLAG...]

		Is OBI's data in Mimir, Cortex, Prometheus or VictoriaMetrics? One line per check.

		$METRICS_FLAG
		  --probes A,B        probes that must be there and run (OBI_PROBES; default: those that the store knows)
		  --nodes N           agents that must be there (OBI_NODES; default: at least 1)
		  --labels A,B        labels that the probes' series must have (OBI_LABELS), such as k8s_pod_name
	END
}

flag() {
	case $1 in
	--metrics-url) METRICS_URL=$2 ;;
	--probes) PROBES=$2 ;;
	--nodes) NODES=$2 ;;
	--labels) LABELS=$2 ;;
	*) return 1 ;;
	esac
}

parse "$@"
[[ $NODES =~ ^[0-9]*$ ]] || wrong_flag "--nodes: \"$NODES\" is not a number"
[[ $PROBES$LABELS =~ ^[a-z0-9_,]*$ ]] || wrong_flag "--probes and --labels: a list of names with commas"

# One metric that each probe always has, then one that it has where the node lets it.
of_probe() {
	case $1 in
	network) echo obi_network_packets_total obi_network_io_bytes_total obi_network_connections ;;
	tcp) echo obi_tcp_connects_total obi_tcp_io_bytes_total obi_tcp_connections ;;
	syscall) echo obi_syscall_calls_total obi_syscall_errors_total ;;
	limits) echo obi_limits_usage obi_limits_oom_kills_total obi_limits_exhaustion_total ;;
	esac
}

own="obi_build_info obi_probe_state obi_probe_events_total obi_probe_cpu_seconds_total obi_series
	obi_process_resident_memory_bytes otlp_exporter_sent_items_total otlp_exporter_failed_items_total
	otlp_exporter_last_success_timestamp_seconds"

open_metrics
await obi_names || cannot "the store of metrics at $METRICS has nothing of OBI from the last $WINDOW${TENANT:+ for tenant $TENANT}; \
does the agent export there (obi test-export --type metrics), and is --tenant right?"

if [ -n "$PROBES" ]; then
	probes=${PROBES//,/ }
else
	promql "group by (probe) (last_over_time(obi_probe_state[${WINDOW_S}s]))"
	probes=$(jq -r '.data.result[].metric.probe' <<<"$BODY" | sort)
fi

check_names() {
	local wanted plain='' name
	for name in $1; do
		[ "$(name_of "$name")" = "$name" ] || plain=$(name_of "$name")
	done
	if [ -z "$plain" ]; then
		ok names "with Prometheus' suffixes"
	else
		wanted="set otlp.metrics.naming: prometheus, or otel_metric_suffixes_enabled in Mimir"
		snippet names mimir.yaml "without suffixes ($plain); dashboards and alerts want them: $wanted"
	fi
}

series_of() { # NAME
	has "$(name_of "$1")" || obi_names
	has "$(name_of "$1")"
}

check_metrics() {
	local name
	for name in $1; do
		if await series_of "$name"; then
			name=$(name_of "$name")
			ok metric "$name: $(sed -n "s/^$name //p" <<<"$FOUND") series"
		else
			bad metric "$name: not there"
		fi
	done
}

# The newest state of a probe on each node: what it was before stays in a store for a while.
check_probe() { # PROBE
	local newest states
	states="obi_probe_state{probe=\"$1\"}"
	promql "max by (state, reason, instance, service_instance_id) (timestamp($states) and $states == 1)"
	newest='[.data.result | group_by([.metric.instance, .metric.service_instance_id])[] | max_by(.value[1] | tonumber) | .metric]'
	states=$(jq -r "$newest | map(\"\(.state) (\(.reason))\") | unique | join(\", \")" <<<"$BODY")
	if [ -z "$states" ]; then
		bad probe "$1: no state of it is there"
	elif jq -e "$newest | all(.state == \"attached\")" <<<"$BODY" >/dev/null; then
		ok probe "$1: $states"
	else
		bad probe "$1: $states"
	fi
}

# Labels that series of one metric have, in HAVE.
labels_of() { # NAME
	promql "topk(200, last_over_time($(name_of "$1")[${WINDOW_S}s]))"
	HAVE=$(jq -r '[.data.result[].metric | keys[]] | unique | .[]' <<<"$BODY")
}

check_labels() {
	local name=$1 label
	labels_of "$name"
	for label in process_executable_name ${LABELS//,/ }; do
		if grep -q -x "$label" <<<"$HAVE"; then
			ok label "$label on $(name_of "$name")"
		else
			bad label "$label is on no series of $(name_of "$name")"
		fi
	done
}

# Which agent a series is of: `instance`, or VictoriaMetrics' service_instance_id.
check_nodes() {
	promql "group by (instance, service_instance_id) (obi_build_info)"
	local nodes told
	nodes=$(jq '.data.result | length' <<<"$BODY")
	told=$(jq '[.data.result[].metric | select(.instance // .service_instance_id)] | length' <<<"$BODY")
	if [ "$told" -lt "$nodes" ] || [ "$nodes" -eq 0 ]; then
		bad nodes "$nodes agents, of which $told can be told apart by instance"
	elif [ -n "$NODES" ] && [ "$nodes" -lt "$NODES" ]; then
		bad nodes "$nodes agents, and there should be $NODES"
	else
		ok nodes "$nodes agents"
	fi
}

check_promoted() {
	labels_of obi_build_info
	if grep -q -x app <<<"$HAVE"; then
		ok resource "app is a label of every series"
	else
		snippet resource mimir.yaml "the store does not make app a label of every series"
	fi
}

check_histogram() { # NAME
	promql "count by (__name__) (last_over_time({__name__=~\"($(name_of "$1")|$1)(_bucket|_count)?\"}[${WINDOW_S}s]))"
	case " $(jq -r '[.data.result[].metric.__name__] | join(" ")' <<<"$BODY") " in
	*_bucket\ *) ok histogram "$1: buckets" ;;
	"  ") bad histogram "$1: not there" ;;
	*_count\ *) bad histogram "$1: a count without buckets" ;;
	*) ok histogram "$1: native" ;;
	esac
}

newest() {
	promql "max(timestamp(obi_build_info))"
	NEWEST=$(number)
	[ -n "$NEWEST" ]
}

first=''
for probe in $probes; do
	first+=" $(of_probe "$probe")"
done
check_names "$first"
for probe in $probes; do
	check_probe "$probe"
done
check_metrics "$own$first"
for probe in $probes; do
	case $probe in
	network) check_labels obi_network_packets_total ;;
	syscall) check_labels obi_syscall_calls_total && check_histogram obi_syscall_duration_seconds ;;
	esac
done
check_nodes
check_promoted
if await newest; then
	check_age sample "$(($(date +%s) - ${NEWEST%.*}))"
else
	bad fresh "no sample of obi_build_info is current"
fi
finish
