# shellcheck shell=bash disable=SC2153 # settings are the script's, which shellcheck does not see from here
# The agents' pods, by kubectl, for health-check.sh: whether they are as they should be, and a way to each.

kube() { # FILE WORDS...
	local file=$1
	shift
	kubectl --namespace "$NAMESPACE" "$@" >"$file" 2>"$SCRATCH/problem" ||
		cannot "kubectl $1 $2 failed: $(tail -c 300 "$SCRATCH/problem"); name the agents with --agents or --service if there is no cluster"
}

check_pods() {
	local eligible nodes doubled line
	kube "$SCRATCH/sets" get daemonsets --selector "app=$APP" --output json
	kube "$SCRATCH/pods" get pods --selector "app=$APP" --output json
	jq -e '.items | type == "array"' "$SCRATCH/sets" "$SCRATCH/pods" >/dev/null || cannot "kubectl gave no list of pods"
	eligible=$(jq '[.items[].status.desiredNumberScheduled // 0] | add // 0' "$SCRATCH/sets")
	[ "$eligible" -gt 0 ] || cannot "no DaemonSet with app=$APP in namespace $NAMESPACE wants a node; is --namespace right?"
	# a pod that is on its way out is another's predecessor
	jq '[.items[] | select(.metadata.deletionTimestamp | not) | {name: .metadata.name, node: (.spec.nodeName // ""), phase: .status.phase,
		ready: any(.status.conditions[]?; .type == "Ready" and .status == "True"),
		restarts: ([.status.containerStatuses[]?.restartCount] | add // 0),
		last: ([.status.containerStatuses[]?.lastState.terminated.reason // empty] | join(", "))}]' "$SCRATCH/pods" >"$SCRATCH/seen"
	nodes=$(jq '[.[] | select(.ready) | .node] | unique | length' "$SCRATCH/seen")
	doubled=$(jq -r '[group_by(.node)[] | select(.[0].node != "" and length > 1) | .[0].node] | join(", ")' "$SCRATCH/seen")
	line=$(jq -r '[.[] | select(.ready | not) | "\(.name) on \(if .node == "" then "no node" else .node end): \(.phase), not ready"] | join("; ")' "$SCRATCH/seen")
	if [ "$nodes" -eq "$eligible" ]; then
		ok pods "a Ready pod on $nodes of $eligible eligible nodes"
	else
		bad pods "a Ready pod on $nodes of $eligible eligible nodes${line:+; $line}"
	fi
	[ -z "$doubled" ] || bad pods "more than one pod on $doubled"
	line=$(jq -r --argjson most "$MAX_RESTARTS" '[.[] | select(.restarts > $most)
		| "\(.name): \(.restarts)\(if .last == "" then "" else " (\(.last))" end)"] | join("; ")' "$SCRATCH/seen")
	if [ -z "$line" ]; then ok restarts "at most $MAX_RESTARTS of any pod"; else bad restarts "more than $MAX_RESTARTS: $line"; fi
}

reach_pods() {
	local name node health metrics cpus
	while read -r name node; do
		forward "$NAMESPACE" "pod/$name" "$HEALTH_PORT" || cannot "kubectl cannot forward to pod/$name: $WHY"
		health=127.0.0.1:$FORWARDED
		forward "$NAMESPACE" "pod/$name" "$METRICS_PORT" || cannot "kubectl cannot forward to pod/$name: $WHY"
		metrics=127.0.0.1:$FORWARDED
		cpus=$CPUS
		if [ -z "$cpus" ]; then
			kube "$SCRATCH/node" get node "$node" --output json
			cpus=$(jq -r '.status.capacity.cpu' "$SCRATCH/node")
		fi
		echo "$name $health $metrics $cpus $name" >>"$SCRATCH/agents"
	done < <(jq -r '.[] | select(.phase == "Running") | "\(.name) \(.node)"' "$SCRATCH/seen")
}
