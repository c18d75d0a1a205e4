#!/bin/bash
# Ask Loki whether OBI's log events are there, current, labelled and lead to their spans.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd) || exit 3
# shellcheck source=tests/obi/lib.sh
. "$HERE/lib.sh" || exit 3
# shellcheck source=tests/obi/ask.sh
. "$HERE/ask.sh" || exit 3

WINDOW=${OBI_WINDOW:-24h} # a quiet node says something when it starts, and then not for long
LABELS=${OBI_LABELS:-service_name,service_version,host_name,severity_text}

usage() {
	cat <<-END
		Usage: $SCRIPT [FLAG...]

		Are OBI's log events in Loki? One line per check. The window is 24h unless it is given: a quiet node says little.

		$LOGS_FLAG
		  --labels A,B        labels or structured metadata that entries must have (OBI_LABELS; default: $LABELS)
	END
}

flag() {
	case $1 in
	--logs-url) LOGS_URL=$2 ;;
	--labels) LABELS=$2 ;;
	*) return 1 ;;
	esac
}

parse "$@"
[[ $LABELS =~ ^[a-zA-Z0-9_,]+$ ]] || wrong_flag "--labels: a list of names with commas"
open_logs

some() { # QUERY
	logql "$1" 1000
	COUNT=$(entry_count)
	[ "$COUNT" -gt 0 ]
}

await some "{service_name=\"$SERVICE\"}" || cannot "Loki at $LOGS has no entry of service $SERVICE from the last $WINDOW${TENANT:+ for tenant $TENANT}; \
does the agent export there (obi test-export --type logs), and are --tenant and --service-name right?"
ok entries "$COUNT of {service_name=\"$SERVICE\"}"
check_age entry "$(age_of "$(jq -r '[.data.result[].values[][0]] | max' <<<"$BODY")")"
for label in ${LABELS//,/ }; do
	values=$(jq -r --arg name "$label" '[.data.result[].stream[$name] // empty] | unique | join(", ")' <<<"$BODY")
	missing=$(jq --arg name "$label" '[.data.result[] | select(.stream[$name] | not) | .values | length] | add // 0' <<<"$BODY")
	if [ "$missing" -eq 0 ]; then ok label "$label: $values"; else bad label "$label: missing on $missing of $COUNT entries"; fi
done
linked=$(jq '[.data.result[] | select(.stream.trace_id // "" | test("[1-9a-f]")) | .values | length] | add // 0' <<<"$BODY")
if [ "$linked" -gt 0 ]; then ok trace "$linked of $COUNT entries lead to a span"; else bad trace "no entry of $COUNT has a trace_id"; fi
empty=$(jq '[.data.result[].values[] | select(.[1] == "")] | length' <<<"$BODY")
if [ "$empty" -eq 0 ]; then ok text "every entry says something"; else bad text "$empty of $COUNT entries are empty"; fi
if some "{app=\"$SERVICE\"}"; then
	ok app "$COUNT of {app=\"$SERVICE\"}"
else
	snippet app loki.yaml "app is no index label, so {app=\"$SERVICE\"} finds nothing"
fi
finish
