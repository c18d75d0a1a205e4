#!/bin/bash
# Ask every agent whether it is alive, ready, measuring, cheap, and rid of what it measured.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd) || exit 3
# shellcheck source=tests/obi/lib.sh
. "$HERE/lib.sh" || exit 3
# shellcheck source=tests/obi/pods.sh
. "$HERE/pods.sh" || exit 3

APP=${OBI_APP:-obi}
AGENTS=${OBI_AGENTS:-}
ADDRESSES_OF=${OBI_SERVICE:-}
HEALTH_PORT=${OBI_HEALTH_PORT:-8080}
METRICS_PORT=${OBI_METRICS_PORT:-9090}
AT_LEAST=${OBI_AT_LEAST:-1}
REQUIRE=${OBI_REQUIRE:-}
MAX_CPU=${OBI_MAX_CPU:-5}
MAX_MEMORY=${OBI_MAX_MEMORY:-200}
MAX_RESTARTS=${OBI_MAX_RESTARTS:-0}
MAX_EXPORT_AGE=${OBI_MAX_EXPORT_AGE:-5m}
INTERVAL=${OBI_INTERVAL:-10s}
CPUS=${OBI_CPUS:-}
FULL=0
EXPORT=0

usage() {
	cat <<-END
		Usage: $SCRIPT [FLAG...]

		One Ready pod per eligible node; of each agent /health and /ready, programs and maps, restarts, CPU, memory, and the
		age of the last successful export. Agents are found by kubectl (pods with app=obi), or named:

		  --agents HOST,HOST  these are the agents (OBI_AGENTS); no pods are looked at
		  --service NAME      every address that NAME, a headless Service, resolves to is an agent (OBI_SERVICE)
		  --app NAME          the pods' label app (OBI_APP; default: obi)
		  --health-port N     8080 (OBI_HEALTH_PORT)
		  --metrics-port N    9090 (OBI_METRICS_PORT)
		  --at-least N        agents that must be there (OBI_AT_LEAST; default: 1, and one per eligible node)
		  --require A,B       probes that must run in each (OBI_REQUIRE; default: those that it is configured for)
		  --max-cpu N         per cent of the node's CPUs, programs in the kernel included (OBI_MAX_CPU; default: 5)
		  --max-memory N      MB (OBI_MAX_MEMORY; default: 200)
		  --max-restarts N    of a pod's containers (OBI_MAX_RESTARTS; default: 0)
		  --max-export-age T  since the last successful export (OBI_MAX_EXPORT_AGE; default: 5m)
		  --interval TIME     over which CPU is measured (OBI_INTERVAL; default: 10s)
		  --cpus N            CPUs of the nodes (OBI_CPUS; default: what Kubernetes says, or this machine's)
		  --full              also fail where a probe runs in a mode that loses something
		  --export            also fail where nothing is exported
	END
}

flag() {
	case $1 in
	--agents) AGENTS=$2 ;;
	--service) ADDRESSES_OF=$2 ;;
	--app) APP=$2 ;;
	--health-port) HEALTH_PORT=$2 ;;
	--metrics-port) METRICS_PORT=$2 ;;
	--at-least) AT_LEAST=$2 ;;
	--require) REQUIRE=$2 ;;
	--max-cpu) MAX_CPU=$2 ;;
	--max-memory) MAX_MEMORY=$2 ;;
	--max-restarts) MAX_RESTARTS=$2 ;;
	--max-export-age) MAX_EXPORT_AGE=$2 ;;
	--interval) INTERVAL=$2 ;;
	--cpus) CPUS=$2 ;;
	*) return 1 ;;
	esac
}

switch() {
	case $1 in
	--full) FULL=1 ;;
	--export) EXPORT=1 ;;
	*) return 1 ;;
	esac
}

parse "$@"
for number in "$HEALTH_PORT" "$METRICS_PORT" "$AT_LEAST" "$MAX_CPU" "$MAX_MEMORY" "$MAX_RESTARTS" "${CPUS:-1}"; do
	[[ $number =~ ^[0-9]{1,6}$ ]] || wrong_flag "\"$number\" is no whole number"
done
plain --app "$APP"
INTERVAL_S=$(seconds --interval "$INTERVAL") || exit 2
MAX_EXPORT_AGE_S=$(seconds --max-export-age "$MAX_EXPORT_AGE") || exit 2
((INTERVAL_S > 0)) || wrong_flag "--interval must be more than 0"

# --- who ---------------------------------------------------------------------------------------------------------------

# Name, address of /health and /ready, address of /metrics, CPUs of its node, pod: a line each.
: >"$SCRATCH/agents"

named_agents() {
	local host at
	for host in $1; do
		at=$host
		case $host in *:*) at="[$host]" ;; esac
		echo "$host $at:$HEALTH_PORT $at:$METRICS_PORT ${CPUS:-$(nproc)} -" >>"$SCRATCH/agents"
	done
}

if [ -n "$ADDRESSES_OF" ]; then
	addresses=$(getent ahosts "$ADDRESSES_OF" | awk '!seen[$1]++ {print $1}')
	[ -n "$addresses" ] || cannot "$ADDRESSES_OF resolves to nothing: no agent runs, or the name or the network policy for DNS is wrong"
	named_agents "$addresses"
elif [ -n "$AGENTS" ]; then
	named_agents "${AGENTS//,/ }"
else
	command -v kubectl >/dev/null || cannot "kubectl is not here to find the agents; name them with --agents or --service"
	check_pods
	reach_pods
fi

# --- what --------------------------------------------------------------------------------------------------------------

# Sum of a metric's values in FILE, over the series that have all of the labels; nothing if there is none.
value() { # FILE NAME [LABEL...]
	local file=$1 name=$2
	shift 2
	awk -v name="$name" -v labels="$*" '
		BEGIN {wanted = split(labels, label, " ")}
		$1 == name || index($1, name "{") == 1 {
			for (i = 1; i <= wanted; i++) if (!index($1, label[i])) next
			sum += $NF; any = 1
		}
		END {if (any) printf "%.3f", sum}' "$file"
}

whole() { printf '%.0f' "${1:-0}"; }

check_alive() { # NAME ADDRESS
	if ! get "http://$2/health"; then
		bad health "$1: nobody answers at $2: $WHY"
		return 1
	fi
	[[ ! $BODY =~ ^[[:space:]]*\< ]] || cannot "http://$2/health answers HTML instead of JSON; is this an agent's --health-port?"
	jq -e -s '.[0] | has("healthy")' <<<"$BODY" >/dev/null 2>&1 || cannot "http://$2/health answers \"$(glimpse)\"; is this an agent's --health-port?"
	same_clock "$1"
	if [ "$CODE" = 200 ]; then ok health "$1: its loop turns"; else bad health "$1: status $CODE, its loop stands for $(jq .loop_age_s <<<"$BODY") s"; fi
}

check_ready() { # NAME ADDRESS
	local states probe state
	get "http://$2/ready" || cannot "http://$2/ready does not answer: $WHY"
	jq -e -s '.[0].probes | type == "object"' <<<"$BODY" >/dev/null 2>&1 || cannot "http://$2/ready gives no list of probes: $(glimpse)"
	printf '%s' "$BODY" >"$SCRATCH/ready"
	states=$(jq -r '[.probes | to_entries[] | "\(.key) \(.value.state) (\(.value.reason))"] | join(", ")' "$SCRATCH/ready")
	if [ "$CODE" = 200 ]; then ok ready "$1: $states"; else bad ready "$1: status $CODE: $states"; fi
	for probe in $(if [ -n "$REQUIRE" ]; then echo "${REQUIRE//,/ }"; else jq -r '.probes | keys[]' "$SCRATCH/ready"; fi); do
		state=$(jq -r --arg probe "$probe" '.probes[$probe] | if . then "\(.state) (\(.reason))" else "not configured" end' "$SCRATCH/ready")
		[[ $state == "attached ("* ]] || bad probe "$1: $probe is $state"
	done
	[ "$FULL" = 0 ] || while IFS= read -r state; do
		bad mode "$1: $state"
	done < <(jq -r '.probes | to_entries[] | select(.value.loses | length > 0)
		| "\(.key) runs as \(.value.mode), which loses \(.value.loses | join(", "))"' "$SCRATCH/ready")
}

read_metrics() { # NAME ADDRESS FILE
	get "http://$2/metrics" || cannot "http://$2/metrics does not answer: $WHY"
	[ "$CODE" = 200 ] || cannot "http://$2/metrics answers with status $CODE"
	# a busy node has many thousand lines of other things
	grep -E '^(obi_(build|probe|process|clock)|otlp_exporter)_' "$SCRATCH/body" >"$3"
	[ -n "$(value "$3" obi_build_info)" ] || cannot "http://$2/metrics has no obi_build_info; is this an agent's --metrics-port?"
}

check_programs() { # NAME FILE
	local probe bytes good='' without=''
	for probe in $(jq -r '.probes | to_entries[] | select(.value.state == "attached" and (.value.without_bpf | not)) | .key' "$SCRATCH/ready"); do
		bytes=$(whole "$(value "$2" obi_probe_map_bytes "probe=\"$probe\"")")
		if [ "$bytes" -gt 0 ]; then
			good+="${good:+, }$probe $(jq -r --arg probe "$probe" '.probes[$probe].mode' "$SCRATCH/ready") with $((bytes / 1024)) KiB of maps"
		else
			without+="${without:+, }$probe"
		fi
	done
	if [ -n "$without" ]; then
		bad programs "$1: no maps of $without"
	elif [ -z "$good" ]; then
		bad programs "$1: no probe has a program in the kernel"
	else
		ok programs "$1: $good"
	fi
}

check_restarts() { # NAME FILE
	local times
	times=$(whole "$(value "$2" obi_probe_restarts_total)")
	if [ "$times" -le "$MAX_RESTARTS" ]; then ok restarts "$1: $times of its probes"; else bad restarts "$1: $times of its probes, more than $MAX_RESTARTS"; fi
}

# What kubectl measures of a pod, by the metrics server; otherwise what the agent says of itself.
check_cost() { # NAME POD CPUS EARLIER LATER
	local top='' cpu memory kernel s by='its own measure' share
	[ "$2" = - ] || top=$(kubectl --namespace "$NAMESPACE" top pod "$2" --no-headers 2>/dev/null)
	s=$(awk -v a="$(value "$4" obi_clock_seconds)" -v b="$(value "$5" obi_clock_seconds)" -v s="$INTERVAL_S" 'BEGIN {print (b - a > s ? b - a : s)}')
	# the kernel's share is measured now and then for the time since: only the whole life of the agent says how much it is
	kernel=$(awk -v k="$(value "$5" obi_probe_cpu_seconds_total 'side="kernel"')" -v b="$(value "$5" obi_clock_seconds)" \
		-v a="$(value "$5" obi_process_start_time_seconds)" 'BEGIN {print (b > a ? k / (b - a) : 0)}')
	if [[ $top =~ [[:space:]]([0-9]+)m[[:space:]]+([0-9]+)Mi ]]; then
		by="the metrics server"
		cpu=$(awk -v m="${BASH_REMATCH[1]}" 'BEGIN {print m / 1000}')
		memory=$((BASH_REMATCH[2] * 1048576 / 1000000))
	else
		cpu=$(awk -v a="$(value "$4" obi_process_cpu_seconds_total)" -v b="$(value "$5" obi_process_cpu_seconds_total)" \
			-v s="$s" 'BEGIN {if (a == "" || b == "") exit 1; print (b > a ? b - a : 0) / s}') ||
			cannot "$1: no obi_process_cpu_seconds_total to measure its CPU by"
		memory=$(value "$5" obi_process_resident_memory_bytes)
		[ -n "$memory" ] || cannot "$1: no obi_process_resident_memory_bytes to measure its memory by"
		memory=$(awk -v bytes="$memory" 'BEGIN {printf "%.0f", bytes / 1e6}')
	fi
	share=$(awk -v u="$cpu" -v k="$kernel" -v n="$3" 'BEGIN {if (n <= 0) exit 1; printf "%.2f", (u + k) / n * 100}') ||
		cannot "$1: its node has no known number of CPUs; say it with --cpus"
	if awk -v a="$share" -v b="$MAX_CPU" 'BEGIN {exit !(a < b)}'; then
		ok cpu "$1: $share % of $3 CPUs, by $by"
	else
		bad cpu "$1: $share % of $3 CPUs, not under $MAX_CPU %, by $by"
	fi
	if [ "$memory" -lt "$MAX_MEMORY" ]; then
		ok memory "$1: $memory MB, by $by"
	else
		bad memory "$1: $memory MB, not under $MAX_MEMORY MB, by $by"
	fi
}

check_export() { # NAME FILE
	local signal last any='' age now
	# by the node's clock, which wrote the times too
	now=$(whole "$(value "$2" obi_clock_seconds)")
	[ "$now" -gt 0 ] || now=$(date +%s)
	for signal in traces metrics logs; do
		# what was never handed to the exporter has no age
		[ "$(whole "$(value "$2" otlp_exporter_enqueued_items_total "signal=\"$signal\"")")" -gt 0 ] || continue
		any=1
		last=$(whole "$(value "$2" otlp_exporter_last_success_timestamp_seconds "signal=\"$signal\"")")
		age=$((now - last))
		if [ "$last" -eq 0 ]; then
			bad export "$1: $signal: never got through; obi test-export --type $signal says why"
		elif [ "$age" -gt "$MAX_EXPORT_AGE_S" ] && [ "$(waiting "$2" "$signal")" -gt 0 ]; then
			bad export "$1: $signal: the last $age s ago, and $(waiting "$2" "$signal") items wait; obi test-export --type $signal says why"
		else
			ok export "$1: $signal: the last $age s ago"
		fi
	done
	[ -n "$any" ] || [ "$EXPORT" = 0 ] || bad export "$1: nothing is exported: otlp.endpoint is not set"
}

# Metrics go out each interval; of spans and events there may just have been none.
waiting() { # FILE SIGNAL
	if [ "$2" = metrics ]; then
		echo 1
	else
		echo $(($(whole "$(value "$1" otlp_exporter_queue_size "signal=\"$2\"")") + $(whole "$(value "$1" otlp_exporter_spool_items "signal=\"$2\"")")))
	fi
}

# --- all of them ---------------------------------------------------------------------------------------------------------

alive=0
: >"$SCRATCH/alive"
while read -r name health metrics cpus pod; do
	check_alive "$name" "$health" || continue
	alive=$((alive + 1))
	read_metrics "$name" "$metrics" "$SCRATCH/earlier-$alive"
	echo "$alive $name $health $metrics $cpus $pod" >>"$SCRATCH/alive"
done <"$SCRATCH/agents"
[ "$alive" -eq 0 ] || sleep "$INTERVAL_S"
while read -r number name health metrics cpus pod; do
	read_metrics "$name" "$metrics" "$SCRATCH/later"
	check_ready "$name" "$health"
	check_programs "$name" "$SCRATCH/later"
	check_restarts "$name" "$SCRATCH/later"
	check_cost "$name" "$pod" "$cpus" "$SCRATCH/earlier-$number" "$SCRATCH/later"
	check_export "$name" "$SCRATCH/later"
done <"$SCRATCH/alive"
[ "$alive" -ge "$AT_LEAST" ] || bad agents "$alive answer, and there should be $AT_LEAST"
finish
