# shellcheck shell=bash disable=SC2034 # some of it is for the scripts, which shellcheck does not see from here
# Questions to each kind of store, beside lib.sh: PromQL, TraceQL, LogQL. Answers stay in BODY.

METRICS_URL=${OBI_METRICS_URL:-http://mimir.mop-metrics.svc.cluster.local:8080/prometheus}
TRACES_URL=${OBI_TRACES_URL:-http://tempo.mop-traces.svc.cluster.local:3200}
LOGS_URL=${OBI_LOGS_URL:-http://loki.mop-logs.svc.cluster.local:3100}

METRICS_FLAG="  --metrics-url URL   Mimir, Cortex (with /prometheus), Prometheus or VictoriaMetrics (OBI_METRICS_URL; default:
                      $METRICS_URL)"
TRACES_FLAG="  --traces-url URL    Tempo (OBI_TRACES_URL; default: $TRACES_URL)"
LOGS_FLAG="  --logs-url URL      Loki (OBI_LOGS_URL; default: $LOGS_URL)"

# --- metrics ---------------------------------------------------------------------------------------------------------

# Find the query API: at the address given or, as Mimir and Cortex have it, below /prometheus.
open_metrics() {
	reach "$METRICS_URL"
	METRICS=$REACHED
	if get "$METRICS/api/v1/query" --data-urlencode 'query=1' && [ "$CODE" = 404 ] &&
		get "$METRICS/prometheus/api/v1/query" --data-urlencode 'query=1' && [ "$CODE" != 404 ]; then
		METRICS=$METRICS/prometheus
	fi
	promql 1
}

promql() { # QUERY
	ask "the store of metrics" "$METRICS/api/v1/query" --data-urlencode "query=$1"
	succeeded "the store of metrics"
	jq -e '.data.result | type == "array"' <<<"$BODY" >/dev/null ||
		cannot "the store of metrics at $WHERE answers without .data.result; is this a Prometheus query API?"
}

# The one number of the last answer, without a point where it is whole; nothing if there is none.
number() { jq -r '.data.result | if type == "array" and length > 0 and (.[0] | type == "object") then .[0].value[1] else empty end' <<<"$BODY"; }

# OBI's names in the store, in FOUND: each with how many series it has, one a line.
obi_names() {
	promql "count by (__name__) (last_over_time({__name__=~\"(obi|otlp_exporter)_.+\"}[${WINDOW_S}s]))"
	FOUND=$'\n'$(jq -r '.data.result[] | "\(.metric.__name__) \(.value[1])"' <<<"$BODY")$'\n'
	[ "$FOUND" != $'\n\n' ]
}

has() { [[ $FOUND == *$'\n'"$1 "* ]]; }

# The name that the store has for a metric: with Prometheus' suffixes or, from a Mimir as it comes, without.
name_of() { # NAME
	local bare=$1
	if ! has "$1"; then
		bare=${bare%_total} bare=${bare%_bytes} bare=${bare%_seconds} bare=${bare%_ratio}
	fi
	echo "$bare"
}

# --- traces ----------------------------------------------------------------------------------------------------------

# Spans between START and END that fit, as many as LIMIT; each trace with its matching spans.
traceql() { # QUERY START END LIMIT
	ask Tempo "$TRACES/api/search" --data-urlencode "q=$1" --data "start=$2" --data "end=$3" --data "limit=$4" --data spss=100
	jq -e '(.traces // []) | type == "array"' <<<"$BODY" >/dev/null ||
		cannot "Tempo at $WHERE answers without .traces; is this Tempo's query API?"
	jq -e 'has("traces") or has("metrics")' <<<"$BODY" >/dev/null ||
		cannot "Tempo at $WHERE answers neither traces nor metrics; is this Tempo's query API?"
}

open_traces() {
	reach "$TRACES_URL"
	TRACES=$REACHED
}

# How many spans the last answer has.
span_count() { jq '[(.traces // [])[] | (.spanSets // [.spanSet // {}])[] | (.matched // (.spans // [] | length))] | add // 0' <<<"$BODY"; }

# --- logs ------------------------------------------------------------------------------------------------------------

open_logs() {
	reach "$LOGS_URL"
	LOGS=$REACHED
}

# Entries of the last window, newest first, as many as LIMIT.
logql() { # QUERY LIMIT [SINCE]
	local now
	now=$(date +%s)
	ask Loki "$LOGS/loki/api/v1/query_range" --data-urlencode "query=$1" --data "limit=$2" --data direction=backward \
		--data "start=${3:-$((now - WINDOW_S))}000000000" --data "end=$((now + 60))000000000"
	succeeded Loki
	[ "$(jq -r '.data.resultType // "none"' <<<"$BODY")" = streams ] ||
		cannot "Loki at $WHERE answers without streams; is this Loki's query API?"
}

entry_count() { jq '[.data.result[].values | length] | add // 0' <<<"$BODY"; }

# --- ages ------------------------------------------------------------------------------------------------------------

# Seconds from a time in nanoseconds until now.
age_of() { # NANOSECONDS
	echo $(($(date +%s) - ${1%?????????}))
}

# What lies in the future was written under another clock.
check_age() { # NAME AGE
	[ "$2" -ge "-$MAX_SKEW_S" ] ||
		cannot "clock skew: the newest $1 is $((-$2)) s in the future; set the nodes' clocks by NTP, or raise --max-skew"
	if [ "$2" -le "$WINDOW_S" ]; then ok fresh "newest $1 $2 s old"; else bad fresh "newest $1 $2 s old, more than $WINDOW"; fi
}
