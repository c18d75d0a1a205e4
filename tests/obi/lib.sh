# shellcheck shell=bash disable=SC2034 # some of it is for the scripts, which shellcheck does not see from here
# What the scripts beside this file share: flags, requests to stores, checks, the summary. Needs bash, curl, jq.
#
# A check is one line, `ok` or `FAIL`, with what was seen. Status: 0 all checks are ok, 1 one failed, 2 a flag is wrong,
# 3 something could not be checked. Nothing that could not be asked ever counts as ok.

set -uo pipefail

SCRIPT=${0##*/}
TENANT=${OBI_TENANT:-}
SERVICE=${OBI_SERVICE_NAME:-obi}
NAMESPACE=${OBI_NAMESPACE:-mop-system}
WINDOW=${OBI_WINDOW:-15m}
WAIT=${OBI_WAIT:-90s}
POLL=${OBI_POLL:-2}
TIMEOUT=${OBI_TIMEOUT:-10s}
MAX_SKEW=${OBI_MAX_SKEW:-30s}
CA_FILE=${OBI_CA_FILE:-}
AUTHORIZATION=${OBI_AUTHORIZATION:-}
SNIPPETS=${OBI_SNIPPETS:-0}
JSON=0

COMMON_FLAGS="
  --tenant NAME       X-Scope-OrgID of a multi-tenant store (OBI_TENANT; default: none)
  --service-name NAME service.name that the agents have (OBI_SERVICE_NAME; default: obi)
  --namespace NAME    Kubernetes namespace of the agents (OBI_NAMESPACE; default: mop-system)
  --window TIME       how far back to look, such as 15m (OBI_WINDOW; default: 15m)
  --wait TIME         how long to wait for what a store does not show yet (OBI_WAIT; default: 90s)
  --timeout TIME      of one request (OBI_TIMEOUT; default: 10s)
  --max-skew TIME     how far a store's clock may be off (OBI_MAX_SKEW; default: 30s)
  --ca-file FILE      certificates that sign the stores' (OBI_CA_FILE)
  --snippets          fail where a store lacks what deploy/stores/ would set (OBI_SNIPPETS=1)
  --json              one JSON document instead of lines
  --help              this text

  OBI_AUTHORIZATION is sent as the header Authorization; OBI_POLL is the time between two questions (default: 2 s).
  A name of the form SERVICE.NAMESPACE.svc.cluster.local that does not resolve here is forwarded by kubectl for the while.

Status: 0 all checks are ok, 1 one failed, 2 a flag is wrong, 3 something could not be checked."

BODY='' CODE='' WHERE='' WHY='' DATE='' NOW=0
CHECKS='' FAILED=0 FORWARDS=''
SCRATCH=''

# --- leaving ---------------------------------------------------------------------------------------------------------

cleanup() {
	local pid
	for pid in $FORWARDS; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	[ -z "$SCRATCH" ] || rm -rf "$SCRATCH"
}

wrong_flag() {
	echo "$SCRIPT: $*; --help lists the flags" >&2
	exit 2
}

# The one line of what could not be checked, whatever is in it.
cannot() {
	local line
	line=$(printf '%s' "$*" | tr -s '\n\t ' ' ' | cut -c1-500)
	if [ "$JSON" = 1 ] && command -v jq >/dev/null; then
		summary could_not_check "$line"
	fi
	echo "$SCRIPT: could not check: $line" >&2
	exit 3
}

# --- flags -----------------------------------------------------------------------------------------------------------

# Calls `usage` and `flag NAME VALUE` of the script; `flag` gives 1 for a flag it does not know.
parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help)
			usage
			echo "$COMMON_FLAGS"
			exit 0
			;;
		--json) JSON=1 && shift && continue ;;
		--snippets) SNIPPETS=1 && shift && continue ;;
		--*) switch "$1" && shift && continue ;;
		*) wrong_flag "\"$1\" is no flag" ;;
		esac
		[ $# -ge 2 ] || wrong_flag "$1 wants a value, or is no flag"
		case $1 in
		--tenant) TENANT=$2 ;;
		--service-name) SERVICE=$2 ;;
		--namespace) NAMESPACE=$2 ;;
		--window) WINDOW=$2 ;;
		--wait) WAIT=$2 ;;
		--timeout) TIMEOUT=$2 ;;
		--max-skew) MAX_SKEW=$2 ;;
		--ca-file) CA_FILE=$2 ;;
		*) flag "$1" "$2" || wrong_flag "there is no flag $1" ;;
		esac
		shift 2
	done
	WINDOW_S=$(seconds --window "$WINDOW") || exit 2
	WAIT_S=$(seconds --wait "$WAIT") || exit 2
	TIMEOUT_S=$(seconds --timeout "$TIMEOUT") || exit 2
	MAX_SKEW_S=$(seconds --max-skew "$MAX_SKEW") || exit 2
	((WINDOW_S > 0 && TIMEOUT_S > 0)) || wrong_flag "--window and --timeout must be more than 0"
	[[ $POLL =~ ^[0-9]+(\.[0-9]+)?$ ]] || wrong_flag "OBI_POLL=\"$POLL\" is not a number of seconds"
	# they stand in questions, between quotes
	plain --service-name "$SERVICE"
	local tool
	for tool in curl jq; do
		command -v "$tool" >/dev/null || cannot "$tool is not installed; install it (apt-get install $tool)"
	done
	SCRATCH=$(mktemp -d) || cannot "no temporary directory: mktemp -d failed"
	trap cleanup EXIT
	trap 'exit 130' INT TERM HUP
}

# A script without flags that take no value; others say theirs.
switch() { return 1; }

plain() {
	[[ $2 =~ ^[A-Za-z0-9_./:-]+$ ]] || wrong_flag "$1: \"$2\" may consist of letters, digits and _ . / : - only"
}

seconds() {
	[[ $2 =~ ^([0-9]{1,7})(s|m|h|d)?$ ]] || wrong_flag "$1: \"$2\" is no time; write 90s, 15m, 6h or 2d"
	case ${BASH_REMATCH[2]} in
	m) echo $((10#${BASH_REMATCH[1]} * 60)) ;;
	h) echo $((10#${BASH_REMATCH[1]} * 3600)) ;;
	d) echo $((10#${BASH_REMATCH[1]} * 86400)) ;;
	*) echo $((10#${BASH_REMATCH[1]})) ;;
	esac
}

# --- checks ----------------------------------------------------------------------------------------------------------

check() { # ok|FAIL NAME SEEN
	[ "$1" = ok ] || FAILED=$((FAILED + 1))
	CHECKS+="$1"$'\t'"$2"$'\t'"$3"$'\n'
	[ "$JSON" = 1 ] || printf '%-4s  %-12s  %s\n' "$1" "$2" "$3"
}

ok() { check ok "$1" "$2"; }
bad() { check FAIL "$1" "$2"; }

# What a store lacks that a file of deploy/stores would set: named always, a failure only with --snippets.
snippet() { # NAME FILE SEEN
	if [ "$SNIPPETS" = 1 ]; then bad "$1" "$3; set it as deploy/stores/$2 does"; else ok "$1" "$3 (deploy/stores/$2 would)"; fi
}

# EXTRA: a JSON object that a script adds to its summary.
EXTRA='{}'

summary() { # RESULT [REASON]
	printf '%s' "$CHECKS" | jq -R -s --arg script "$SCRIPT" --arg result "$1" --arg reason "${2:-}" --argjson extra "$EXTRA" '
		[split("\n")[] | select(. != "") | split("\t") | {name: .[1], ok: (.[0] == "ok"), seen: .[2]}] as $checks
		| {script: $script, result: $result, checks: $checks, failed: ([$checks[] | select(.ok | not)] | length)}
		+ (if $reason == "" then {} else {reason: $reason} end) + $extra'
}

finish() {
	[ -n "$CHECKS" ] || cannot "nothing was checked"
	local result=ok
	[ "$FAILED" -eq 0 ] || result=failed
	if [ "$JSON" = 1 ]; then
		summary "$result" || cannot "jq could not write the summary"
	else
		echo "$SCRIPT: $(grep -c . <<<"${CHECKS%$'\n'}") checks, $FAILED failed"
	fi
	[ "$FAILED" -eq 0 ]
}

# Ask again until FUNCTION says yes or the time is over; what it found last stays in its variables.
await() { # FUNCTION [WORDS...]
	local until=$((SECONDS + WAIT_S))
	until "$@"; do
		[ "$SECONDS" -lt "$until" ] || return 1
		sleep "$POLL"
	done
}

# --- requests --------------------------------------------------------------------------------------------------------

# GET into BODY, CODE and the store's clock; gives 1 and WHY if there is no answer at all.
get() { # URL [curl's words...]
	local url=$1 status
	shift
	CODE='' BODY=''
	: >"$SCRATCH/head"
	: >"$SCRATCH/body"
	# secrets go in by a pipe: anybody can read a command line
	CODE=$({
		[ -z "$TENANT" ] || printf 'header = "X-Scope-OrgID: %s"\n' "${TENANT//[\"\\]/}"
		[ -z "$AUTHORIZATION" ] || printf 'header = "Authorization: %s"\n' "${AUTHORIZATION//[\"\\]/}"
		[ -z "$CA_FILE" ] || printf 'cacert = "%s"\n' "$CA_FILE"
	} | curl --config - --silent --show-error --max-time "$TIMEOUT_S" --get --header 'Accept: application/json' \
		--dump-header "$SCRATCH/head" --output "$SCRATCH/body" --write-out '%{http_code}' "$@" --url "$url" 2>"$SCRATCH/problem")
	status=$?
	if [ "$status" -ne 0 ]; then
		WHY=$(tr -s '\n' ' ' <"$SCRATCH/problem")
		return "$status"
	fi
	{ BODY=$(<"$SCRATCH/body"); } 2>/dev/null # bash complains of zero bytes, and leaves them out
	printf -v NOW '%(%s)T' -1
}

# Tell whether the store's clock and ours agree, within what a request may take.
same_clock() { # NAME
	local line date='' store off
	while IFS= read -r line; do
		[[ $line != [Dd]ate:* ]] || date=${line#*: }
	done <"$SCRATCH/head"
	date=${date%$'\r'}
	# the same second as last time needs no second look
	[ -n "$date" ] && [ "$date" != "$DATE" ] || return 0
	DATE=$date
	store=$(date -d "$date" +%s 2>/dev/null) || return 0
	off=$((store - NOW))
	[ "${off#-}" -le "$MAX_SKEW_S" ] ||
		cannot "clock skew: $1 is $off s off this machine's clock (at most $MAX_SKEW_S s); set both by NTP, or raise --max-skew"
}

# GET JSON from a store into BODY, or end with the reason why not.
ask() { # NAME URL [curl's words...]
	local name=$1 url=$2 tenant="without a tenant"
	shift 2
	WHERE=$url
	[ -z "$TENANT" ] || tenant="as tenant $TENANT"
	get "$url" "$@" || cannot "$name at $url does not answer: $WHY"
	same_clock "$name"
	case $CODE in
	200) ;;
	401 | 403) cannot "$name at $url refuses us $tenant (status $CODE): $(glimpse); is --tenant right, and OBI_AUTHORIZATION?" ;;
	404) cannot "$name at $url has no such path (status 404); is this the address of $name's query API?" ;;
	*) cannot "$name at $url answers with status $CODE: $(glimpse)" ;;
	esac
	[[ ! $BODY =~ ^[[:space:]]*\< ]] || cannot "$name at $url answers HTML instead of JSON; is a login page or a proxy in between?"
	# of nothing at all jq 1.6 says yes
	jq -e -s 'length == 1 and (.[0] | type == "object")' <<<"$BODY" >/dev/null 2>&1 || cannot "$name at $url answers no JSON object: $(glimpse)"
}

glimpse() { printf '%s' "${BODY:0:160}" | tr -s '\n\t ' ' '; }

# A whole answer may be a success of HTTP and a failure of the question.
succeeded() { # NAME
	[ "$(jq -r '.status // "none"' <<<"$BODY")" = success ] ||
		cannot "$1 at $WHERE could not answer: $(jq -r '.error // "no status in what it says"' <<<"$BODY")"
}

# --- finding stores --------------------------------------------------------------------------------------------------

# Set REACHED to URL or, where its name does not resolve, to the address at which kubectl forwards to it.
reach() { # URL
	local url=${1%/} host port rest name namespace
	[[ $url =~ ^https?:// ]] || url="http://$url"
	REACHED=$url
	[[ $url =~ ^(https?)://([^/:]+)(:([0-9]+))?(/.*)?$ ]] || return 0
	host=${BASH_REMATCH[2]} port=${BASH_REMATCH[4]:-80} rest=${BASH_REMATCH[5]:-}
	[[ $host =~ ^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(\.|$) ]] || return 0
	name=${BASH_REMATCH[1]} namespace=${BASH_REMATCH[2]}
	get "$url"
	[ $? -eq 6 ] || return 0
	command -v kubectl >/dev/null || return 0
	forward "$namespace" "svc/$name" "$port" || cannot "$host does not resolve here, and kubectl cannot forward to it: $WHY"
	REACHED="http://127.0.0.1:$FORWARDED$rest"
}

# Forward a port of a service or pod to a free one here. Sets FORWARDED; closed by its pid when the script ends.
forward() { # NAMESPACE TARGET PORT
	local said until=$((SECONDS + 20)) pid
	said=$(mktemp -p "$SCRATCH")
	kubectl --namespace "$1" port-forward --address 127.0.0.1 "$2" ":$3" >"$said" 2>&1 &
	pid=$!
	FORWARDS="$FORWARDS $pid"
	until FORWARDED=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$said" | head -n 1) && [ -n "$FORWARDED" ]; do
		WHY=$(tr -s '\n' ' ' <"$said")
		kill -0 "$pid" 2>/dev/null || return 1
		[ "$SECONDS" -lt "$until" ] || { WHY="nothing was forwarded within 20 s; $WHY" && return 1; }
		sleep 0.1
	done
}
