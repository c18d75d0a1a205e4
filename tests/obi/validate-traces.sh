#!/bin/bash
# Ask Tempo whether OBI's spans are there, current and whole.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd) || exit 3
# shellcheck source=tests/obi/lib.sh
. "$HERE/lib.sh" || exit 3
# shellcheck source=tests/obi/ask.sh
. "$HERE/ask.sh" || exit 3

SPANS=${OBI_SPANS:-obi collect}
ATTRIBUTES=${OBI_ATTRIBUTES:-service.version,service.instance.id,app,host.name}

usage() {
	cat <<-END
		Usage: $SCRIPT [FLAG...]

		Are OBI's traces in Tempo? One line per check. Search misses the newest 30 s in Tempo: that is waited for.

		$TRACES_FLAG
		  --spans A,B         names of spans that must be there (OBI_SPANS; default: obi collect, which every agent sends)
		  --attributes A,B    attributes that their resource must have (OBI_ATTRIBUTES; default: $ATTRIBUTES)
	END
}

flag() {
	case $1 in
	--traces-url) TRACES_URL=$2 ;;
	--spans) SPANS=$2 ;;
	--attributes) ATTRIBUTES=$2 ;;
	*) return 1 ;;
	esac
}

parse "$@"
[[ $SPANS$ATTRIBUTES =~ ^[A-Za-z0-9_.,\ -]+$ ]] || wrong_flag "--spans and --attributes: lists of names with commas"
open_traces

search() { # QUERY
	local now
	now=$(date +%s)
	traceql "$1" $((now - WINDOW_S)) $((now + 60)) 200
	COUNT=$(span_count)
	[ "$COUNT" -gt 0 ]
}

mine="resource.service.name = \"$SERVICE\""
await search "{ $mine }" || cannot "Tempo at $TRACES has no span of service $SERVICE from the last $WINDOW${TENANT:+ for tenant $TENANT}; \
does the agent export there (obi test-export --type traces), and are --tenant and --service-name right?"
ok search "$COUNT spans of $SERVICE in $(jq '.traces | length' <<<"$BODY") traces"
newest=$(jq -r '[.traces[].startTimeUnixNano | tonumber] | max | floor | tostring' <<<"$BODY")
printf -v newest '%.0f' "$newest"
# search drops leading zeros of an id
id=$(jq -r '.traces | max_by(.startTimeUnixNano | tonumber) | .traceID | ("0" * (32 - length) // "") + .' <<<"$BODY")
check_age span "$(age_of "$newest")"

IFS=, read -r -a names <<<"$SPANS"
for name in "${names[@]}"; do
	if await search "{ $mine && name = \"$name\" }"; then ok span "$name: $COUNT"; else bad span "$name: none"; fi
done

# By its id a trace answers at once, and whole. Older Tempos say .batches, newer .trace.resourceSpans.
ask Tempo "$TRACES/api/traces/$id"
resources='[(.batches // .trace.resourceSpans // .resourceSpans // [])[] | .resource.attributes // []] '
if [ "$(jq "$resources | length" <<<"$BODY")" -eq 0 ]; then
	bad trace "$id: nothing comes by this id"
else
	ok trace "$id: $(jq '[.. | .spans? // empty | length] | add' <<<"$BODY") spans"
	for name in ${ATTRIBUTES//,/ }; do
		value=$(jq -r --arg key "$name" "[$resources | .[][] | select(.key == \$key) | .value[]] | unique | map(tostring) | join(\", \")" <<<"$BODY")
		if [ -n "$value" ]; then ok resource "$name: $value"; else bad resource "$name: missing on the resource"; fi
	done
fi
finish
