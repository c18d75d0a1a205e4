"""Where a probe stands in its life, and why: enumerated, for scripts and alerts. `model` has them for everybody."""

from enum import Enum


class ProbeState(Enum):
    """Where a probe stands in its life."""

    DISCOVERED = "discovered"
    LOADED = "loaded"
    ATTACHED = "attached"
    DETACHED = "detached"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class Reason(Enum):
    """Why a probe is in its state: a fixed set, for scripts and alerts. Free text goes into logs and `/status`."""

    OK = "ok"
    STARTING = "starting"
    STOPPED = "stopped"
    NO_BTF = "no_btf"
    NO_TRACEFS = "no_tracefs"
    BAD_BTF = "bad_btf"
    NO_CGROUP2 = "no_cgroup2"
    NO_BCC = "no_bcc"
    NO_HEADERS = "no_headers"
    MISSING_CAPABILITY = "missing_capability"
    BPF_FORBIDDEN = "bpf_forbidden"
    LOCKED_DOWN = "locked_down"
    MEMLOCK_LIMIT = "memlock_limit"
    HOOK_MISSING = "hook_missing"
    LOAD_REFUSED = "load_refused"
    ATTACH_REFUSED = "attach_refused"
    OBJECT_MISSING = "object_missing"
    OVER_BUDGET = "over_budget"
    IMPORT_RAISED = "import_raised"
    WRONG_TYPE = "wrong_type"
    WRONG_API = "wrong_api"
    DUPLICATE = "duplicate"
    NOT_LISTED = "not_listed"
    STEP_RAISED = "step_raised"
    STEP_HUNG = "step_hung"
    DESCRIPTOR_LEAK = "descriptor_leak"
    UNDECLARED = "undeclared"
