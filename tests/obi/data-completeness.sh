#!/bin/bash
# Do a known number of things on a node, and find exactly that many in the stores: how complete, how late, at which rate.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd) || exit 3
# shellcheck source=tests/obi/lib.sh
. "$HERE/lib.sh" || exit 3
# shellcheck source=tests/obi/ask.sh
. "$HERE/ask.sh" || exit 3

WAIT=${OBI_WAIT:-3m}
EMIT=${OBI_EMIT:-}
RATES=${OBI_RATES:-20,200,2000}
RUNS=${OBI_RUNS:-3}
SIGNALS=${OBI_SIGNALS:-metrics,traces,logs}
SELECTOR=${OBI_SELECTOR:-}
MAX_LATENCY=${OBI_MAX_LATENCY:-}

usage() {
	cat <<-END
		Usage: $SCRIPT [FLAG...]

		Runs \`obi emit-known\` on a node whose agent exports to these stores: real connections, calls and packets in the
		kernel. Then waits until the stores show exactly as many. Reports the time from the last event until the query that
		finds all (p50, p95, max), and what was found at each rate.

		$METRICS_FLAG
		$TRACES_FLAG
		$LOGS_FLAG
		  --signals A,B       of metrics, traces, logs (OBI_SIGNALS; default: all)
		  --emit COMMAND      how to run it (OBI_EMIT; default: obi emit-known if obi is here, or else
		                      kubectl --namespace NAMESPACE exec daemonset/obi -- obi emit-known)
		  --rates A,B         events per second of each kind (OBI_RATES; default: 20,200,2000)
		  --runs N            at each rate (OBI_RUNS; default: 3)
		  --selector TEXT     further matchers of PromQL, such as 'job="obi"', where a store has everything twice (OBI_SELECTOR)
		  --max-latency TIME  fail if something took longer (OBI_MAX_LATENCY; default: no bound but --wait, here 3m)
	END
}

flag() {
	case $1 in
	--metrics-url) METRICS_URL=$2 ;;
	--traces-url) TRACES_URL=$2 ;;
	--logs-url) LOGS_URL=$2 ;;
	--signals) SIGNALS=$2 ;;
	--emit) EMIT=$2 ;;
	--rates) RATES=$2 ;;
	--runs) RUNS=$2 ;;
	--selector) SELECTOR=$2 ;;
	--max-latency) MAX_LATENCY=$2 ;;
	*) return 1 ;;
	esac
}

parse "$@"
[[ $RATES =~ ^[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*$ ]] || wrong_flag "--rates: \"$RATES\" is no list of whole numbers up to 999999"
[[ $RUNS =~ ^[1-9][0-9]{0,2}$ ]] || wrong_flag "--runs: \"$RUNS\" is no number from 1 to 999"
[[ ,$SIGNALS, =~ ^(,(metrics|traces|logs))+,$ ]] || wrong_flag "--signals: \"$SIGNALS\" is no list of metrics, traces, logs"
MAX_LATENCY_S=''
[ -z "$MAX_LATENCY" ] || MAX_LATENCY_S=$(seconds --max-latency "$MAX_LATENCY") || exit 2
signals=${SIGNALS//,/ }

if [ -z "$EMIT" ]; then
	EMIT="obi emit-known"
	if ! command -v obi >/dev/null; then
		command -v kubectl >/dev/null || cannot "neither obi nor kubectl is here; say with --emit how to run obi emit-known on a node"
		EMIT="kubectl --namespace $NAMESPACE exec daemonset/obi -- obi emit-known"
	fi
fi
read -r -a emit <<<"$EMIT"

some_spans() { traceql "{ resource.service.name = \"$SERVICE\" }" $(($(date +%s) - WINDOW_S)) $(($(date +%s) + 60)) 1 && [ "$(span_count)" -gt 0 ]; }
some_entries() { logql "{service_name=\"$SERVICE\"}" 1 $(($(date +%s) - 86400)) && [ "$(entry_count)" -gt 0 ]; }

# What a store has never had it will not have of a run either: say so before one is made.
for signal in $signals; do
	case $signal in
	metrics) open_metrics && await obi_names ;;
	traces) open_traces && await some_spans ;;
	logs) open_logs && await some_entries ;;
	esac || cannot "there are no $signal of $SERVICE at $WHERE${TENANT:+ for tenant $TENANT}; \
does the agent export there (obi test-export --type $signal), and is --tenant right?"
done

# Of each kind: expected number, what it is, and the question, by tabs.
questions() { # SIGNAL
	jq -r --arg signal "$1" --arg window "${WINDOW_S}s" --arg service "$SERVICE" --arg selector "$SELECTOR" '
		def name_of: gsub("[^a-zA-Z0-9_]"; "_");
		.process as $who
		| .expected[] | select(.signal == $signal)
		| [(.attributes | to_entries[] | "\(.key)=\(.value)")] as $of
		| (if $signal == "metrics" then
			[(.attributes | to_entries[] | "\(.key | name_of)=\"\(.value)\""), "process_executable_name=\"\($who)\"",
				"__name__=~\"\(.name | name_of)(_bytes)?(_total)?\"", (if $selector == "" then empty else $selector end)]
			| "sum(last_over_time({\(join(","))}[\($window)]))"
		elif $signal == "traces" then
			["resource.service.name = \"\($service)\"", "name = \"\(.name)\"", "span.process.executable.name = \"\($who)\"",
				(.attributes | to_entries[] | "span.\(.key) = \"\(.value)\"")]
			| "{ \(join(" && ")) }"
		else
			["{service_name=\"\($service)\"}", "process_executable_name=\"\($who)\"",
				(.attributes | to_entries[] | "\(.key | name_of)=\"\(.value)\"")]
			| join(" | ")
		end) as $question
		| [.value, "\(.name){\($of | join(","))}", $question] | @tsv' "$RUN"
}

# What the store has now, in COUNT.
count_of() { # SIGNAL QUESTION EXPECTED
	case $1 in
	metrics) promql "$2" && COUNT=$(number) ;;
	traces) traceql "$2" $((BEGAN - 5)) $(($(date +%s) + 60)) $(($3 + 50)) && COUNT=$(span_count) ;;
	logs) logql "$2" $(($3 + 50)) $((BEGAN - 5)) && COUNT=$(entry_count) ;;
	esac
	COUNT=${COUNT:-0} COUNT=${COUNT%%.*}
}

# Ask for all that is still missing of a signal; gives 0 when nothing is, and leaves in MISSING what is.
complete() { # SIGNAL
	local number what question
	MISSING='' ROWS=0 FOUND_ALL=0 WANT_ALL=0
	while IFS=$'\t' read -r number what question; do
		count_of "$1" "${question//\\\\/\\}" "$number"
		ROWS=$((ROWS + 1))
		# bytes would drown the events in any share
		[[ $what == *.io"{"* ]] || WANT_ALL=$((WANT_ALL + number)) FOUND_ALL=$((FOUND_ALL + COUNT))
		[ "$COUNT" = "$number" ] || MISSING+="${MISSING:+; }$COUNT of $number $what"
	done <"$SCRATCH/$1"
	[ -z "$MISSING" ]
}

now_ms() { date +%s%3N; }

run_once() { # RATE NUMBER
	local id pending signal until took still off
	id=$(printf '%04x%04x' $((RANDOM % 65536)) $((RANDOM * 2 % 65536)))
	RUN=$SCRATCH/run
	"${emit[@]}" --json --run-id "$id" --rate "$1" --connections "$(($1 < 5000 ? $1 : 5000))" --calls "$1" --datagrams "$1" \
		--refused 5 --resets 5 >"$RUN" 2>"$SCRATCH/problem" ||
		cannot "\"$EMIT\" did not run: $(tail -c 300 "$SCRATCH/problem")"
	jq -e '.expected | length > 0' "$RUN" >/dev/null 2>&1 || cannot "\"$EMIT\" does not say what it did: $(head -c 160 "$RUN")"
	PROCESS=$(jq -r .process "$RUN")
	BEGAN=$(jq '.began_s | floor' "$RUN")
	ENDED_MS=$(jq '.ended_s * 1000 | floor' "$RUN")
	off=$(((ENDED_MS - $(now_ms)) / 1000))
	[ "${off#-}" -le "$MAX_SKEW_S" ] ||
		cannot "clock skew: the node's clock is $off s off this machine's clock; set both by NTP, or raise --max-skew"
	for signal in $signals; do
		questions "$signal" >"$SCRATCH/$signal" || cannot "jq could not make questions of what \"$EMIT\" said"
		[ -s "$SCRATCH/$signal" ] || cannot "\"$EMIT\" made nothing that $signal would show"
	done
	until=$((SECONDS + WAIT_S)) pending=$signals
	while :; do
		still=''
		for signal in $pending; do
			if complete "$signal"; then
				took=$(($(now_ms) - ENDED_MS))
				((took >= 0)) || took=0
				echo "$signal $1 $took $WANT_ALL $FOUND_ALL" >>"$SCRATCH/results"
				ok "$signal" "$PROCESS at $1/s: all $ROWS counts exact, $FOUND_ALL found, after $((took / 1000)).$(printf %03d $((took % 1000))) s"
			elif [ "$SECONDS" -ge "$until" ]; then
				echo "$signal $1 - $WANT_ALL $FOUND_ALL" >>"$SCRATCH/results"
				bad "$signal" "$PROCESS at $1/s: $MISSING"
			else
				still="$still $signal"
			fi
		done
		pending=$still
		[ -n "$pending" ] || break
		sleep "$POLL"
	done
	jq --arg rate "$1" '{rate: ($rate | tonumber), events: ([.did | .connections, .refused, .resets, .calls, .datagrams] | add),
		seconds: (.ended_s - .began_s)}' "$RUN" >>"$SCRATCH/made"
}

: >"$SCRATCH/results"
: >"$SCRATCH/made"
for rate in ${RATES//,/ }; do
	for ((number = 1; number <= RUNS; number++)); do
		run_once "$rate" "$number"
	done
done

EXTRA=$(jq -R -s --slurpfile made "$SCRATCH/made" '
	def at($p): sort | if length == 0 then null else .[([length * $p | ceil, 1] | max) - 1] / 1000 end;
	[split("\n")[] | select(. != "") | split(" ")
		| {signal: .[0], rate: (.[1] | tonumber), took: (if .[2] == "-" then null else (.[2] | tonumber) end),
			expected: (.[3] | tonumber), found: (.[4] | tonumber)}] as $all
	| {latency_s: ($all | group_by(.signal) | map({key: .[0].signal, value: ([.[].took | numbers]
			| {samples: length, p50: at(0.5), p95: at(0.95), max: at(1)})}) | from_entries),
		throughput: ($all | group_by(.rate) | map(.[0].rate as $rate
			| ([$made[] | select(.rate == $rate)] | {events: ([.[].events] | add), seconds: ([.[].seconds] | add)}) as $m
			| {rate: $rate, events: $m.events, events_per_s: ($m.events / $m.seconds * 10 | round / 10),
				complete: (([.[].found] | add) / ([.[].expected] | add))}))}' "$SCRATCH/results") ||
	cannot "jq could not work out the figures"

latencies=$(jq -r '.latency_s | to_entries[]
	| "\(.key)\t\(.value.max // "-")\t\(.key): p50 \(.value.p50 // "-") s, p95 \(.value.p95 // "-") s, max \(.value.max // "-") s of \(.value.samples)"' <<<"$EXTRA")
while IFS=$'\t' read -r _ most text; do
	if [ "$most" = - ]; then
		bad latency "$text: never complete"
	elif [ -n "$MAX_LATENCY_S" ] && [ "${most%.*}" -ge "$MAX_LATENCY_S" ]; then
		bad latency "$text, more than $MAX_LATENCY"
	else
		ok latency "$text"
	fi
done <<<"$latencies"
while IFS=$'\t' read -r share text; do
	if [ "$share" = 1 ]; then ok throughput "$text"; else bad throughput "$text"; fi
done < <(jq -r '.throughput[] | "\(.complete)\tat \(.rate)/s of each kind: \(.events) events, \(.events_per_s)/s in all, \(.complete * 10000 | floor / 100) % found"' <<<"$EXTRA")
finish
