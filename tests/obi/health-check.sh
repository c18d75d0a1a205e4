#!/bin/sh
# Ask running agents whether they are alive, ready, measuring, and getting rid of what they measure.
#
#   health-check.sh [--service NAME | --agents HOST[,HOST]] [options]
#
#   --service NAME       every address that NAME resolves to is an agent (a headless Service)
#   --agents HOST,HOST   these are the agents (default: 127.0.0.1)
#   --health-port N      8080
#   --metrics-port N     9090
#   --at-least N         agents that must be there (1)
#   --require A,B        probes that must run in each
#   --full               also fail where a probe runs in a mode that loses something
#   --export             also fail where nothing is exported
#   --stale S            how long an agent may have something to send and get nothing through (600)
#   --timeout S          of one request (5)
#
# One line per agent, one more for each thing that is wrong. Status: 0 all is well, 1 something is wrong, 2 it cannot be asked.
# Needs a POSIX shell, curl, jq, awk; getent for --service.
set -eu

service='' agents='' health_port=8080 metrics_port=9090 at_least=1 require='' full=false export=false stale=600 timeout=5

fail() {
	echo "health-check: $*" >&2
	exit 2
}

while [ $# -gt 0 ]; do
	case $1 in
	--full) full=true && shift && continue ;;
	--export) export=true && shift && continue ;;
	-h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0" && exit 0 ;;
	esac
	[ $# -ge 2 ] || fail "$1 wants a value, or is no option; --help lists them"
	case $1 in
	--service) service=$2 ;;
	--agents) agents=$2 ;;
	--health-port) health_port=$2 ;;
	--metrics-port) metrics_port=$2 ;;
	--at-least) at_least=$2 ;;
	--require) require=$2 ;;
	--stale) stale=$2 ;;
	--timeout) timeout=$2 ;;
	*) fail "no option $1; --help lists them" ;;
	esac
	shift 2
done
for number in "$health_port" "$metrics_port" "$at_least" "$stale" "$timeout"; do
	case $number in '' | *[!0-9]*) fail "\"$number\" is not a number" ;; esac
done
for tool in curl jq awk; do
	command -v "$tool" >/dev/null || fail "$tool is missing"
done

if [ -n "$service" ]; then
	addresses=$(getent ahosts "$service" | awk '!seen[$1]++ {print $1}') || true
	[ -n "$addresses" ] || fail "$service resolves to nothing: no agent runs, or the name or the network policy for DNS is wrong"
else
	addresses=$(echo "${agents:-127.0.0.1}" | tr ',' ' ')
fi

# What /ready is asked.
states='[.probes | to_entries[] | "\(.key) \(.value.state) (\(.value.reason))"] | join(", ")'
# shellcheck disable=SC2016 # jq's variable
state_of='.probes[$probe] | if . then "\(.state) (\(.reason))" else "not configured" end'
lossy='.probes | to_entries[] | select(.value.loses | length > 0)
	| "\(.key) runs as \(.value.mode), which loses \(.value.loses | join(", "))"'
attached='[.probes | to_entries[] | select(.value.state == "attached") | .key] | join(", ")'

wrong=0 count=0
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
answer=$folder/answer metrics=$folder/metrics losses=$folder/losses

complain() {
	wrong=$((wrong + 1))
	echo "WRONG $*"
}

# GET into a file; prints the HTTP status, 000 if nobody answers.
get() { curl --silent --noproxy '*' --max-time "$timeout" --output "$2" --write-out '%{http_code}' "$1" || true; }

# Sum of a metric's values, over the lines that match an awk condition; nothing if there is none.
value() {
	awk -v name="$1" '$1 == name || index($1, name "{") == 1 {sum += $NF; any = 1} END {if (any) printf "%.0f", sum}' "$metrics"
}

alive() {
	status=$(get "http://$at:$health_port/health" "$answer")
	case $status in
	200) return 0 ;;
	000) complain "$agent: nobody answers at port $health_port: the agent is down, or the network policy keeps us out" ;;
	*) complain "$agent: /health says $status: $(jq -r '"its loop has not turned for \(.loop_age_s) s"' "$answer" 2>/dev/null)" ;;
	esac
	return 1
}

ready() {
	status=$(get "http://$at:$health_port/ready" "$answer")
	jq -e '.probes | type == "object"' "$answer" >/dev/null 2>&1 ||
		{ complain "$agent: /ready gives no list of probes; is this OBI?" && return 1; }
	[ "$status" = 200 ] || complain "$agent: not ready: $(jq -r "$states" "$answer")"
	for probe in $(echo "$require" | tr ',' ' '); do
		state=$(jq -r --arg probe "$probe" "$state_of" "$answer")
		case $state in attached*) ;; *) complain "$agent: probe $probe is $state" ;; esac
	done
	if $full; then
		jq -r "$lossy" "$answer" >"$losses"
		while IFS= read -r line; do complain "$agent: $line"; done <"$losses"
	fi
	probes=$(jq -r "$attached" "$answer")
}

measuring() {
	status=$(get "http://$at:$metrics_port/metrics" "$metrics")
	[ "$status" = 200 ] || { complain "$agent: /metrics says $status at port $metrics_port" && return 1; }
	[ -n "$(value obi_build_info)" ] || complain "$agent: /metrics has no obi_build_info; is this OBI?"
	series=$(awk '!/^#/ && /^obi_/ {n++} END {print n + 0}' "$metrics")
	taken=$(awk '$1 ~ /^obi_probe_entries_total/ && /outcome="accepted"/ {n += $NF} END {printf "%.0f", n}' "$metrics")
	[ "$taken" -gt 0 ] || complain "$agent: its probes have handed over nothing yet"
}

exporting() {
	now=$(date +%s)
	started=$(value obi_process_start_time_seconds)
	started=${started:-0}
	for signal in traces metrics logs; do
		only="{signal=\"$signal\""
		capacity=$(awk -v at="otlp_exporter_queue_capacity$only" 'index($1, at) == 1 {printf "%.0f", $NF}' "$metrics")
		[ "${capacity:-0}" -gt 0 ] || continue
		on="$on $signal"
		last=$(awk -v at="otlp_exporter_last_success_timestamp_seconds$only" 'index($1, at) == 1 {printf "%.0f", $NF}' "$metrics")
		waiting=$(awk -v a="otlp_exporter_queue_size$only" -v b="otlp_exporter_spool_items$only" \
			'index($1, a) == 1 || index($1, b) == 1 {n += $NF} END {printf "%.0f", n}' "$metrics")
		# an agent that has just started has had no time to succeed
		from=${last:-0}
		[ "$from" -gt "$started" ] || from=$started
		if [ "$waiting" -gt 0 ] && [ $((now - from)) -gt "$stale" ]; then
			[ "${last:-0}" -gt 0 ] && since="for $((now - last)) s" || since="yet"
			complain "$agent: $waiting items of $signal wait and none got through $since; obi test-export --type $signal says why"
		fi
	done
	! $export || [ -n "$on" ] || complain "$agent: nothing is exported: otlp.endpoint is not set"
}

for agent in $addresses; do
	count=$((count + 1)) before=$wrong probes='' series=0 on=''
	case $agent in *:*) at="[$agent]" ;; *) at=$agent ;; esac
	alive || continue
	ready || continue
	measuring || continue
	exporting
	[ "$wrong" -gt "$before" ] || echo "ok    $agent: $probes; $series series; exports${on:- nothing}"
done
[ "$count" -ge "$at_least" ] || complain "$count agents, and there should be $at_least"
[ "$wrong" -eq 0 ]
