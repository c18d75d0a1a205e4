/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the limits probe keeps: aggregates that user space reads, and two rings for what is told one by one. */
#ifndef OBI_LIMITS_MAPS_H
#define OBI_LIMITS_MAPS_H

/* Also the order of the names in catalogue.py, as the next one. */
enum limits_resource {
	LIMITS_DESCRIPTORS,
	LIMITS_PROCESSES,
	LIMITS_MEMORY,
	LIMITS_PORTS,
	LIMITS_STORAGE,
	LIMITS_WATCHES,
};

/* Places where limits_lost counts. */
enum limits_loss {
	LIMITS_LOST_ROW, /* a table was full … */
	LIMITS_LOST_EVENT, /* … or a ring */
	LIMITS_LIMITED_EVENT, /* more events than the limit lets out */
	LIMITS_LOSSES,
};

/* 1: the victim's name is part of the row. */
OBI_SETTING(u32, limits_victim_name, 0);
/* Bit n: signal n + 1 is of interest. */
OBI_SETTING(u64, limits_signal_mask, 0);
/* 1: also signals that the process handles or blocks. */
OBI_SETTING(u32, limits_handled, 0);

/* Events a second that may leave, and as many at once. */
OBI_LIVE(u32, limits_oom_rate);
OBI_LIVE(u32, limits_signal_rate);

OBI_TOKENS(limits_oom_tokens);
OBI_TOKENS(limits_signal_tokens);

OBI_ACCOUNT(limits_account);
OBI_LOSSES(limits_lost, LIMITS_LOSSES);

struct limits_kill_key {
	struct obi_owner owner; /* the victim */
};

OBI_HASH(limits_oom_kills, struct limits_kill_key, u64, 1024);

struct limits_failure_key {
	struct obi_owner owner;
	u32 error;
	u32 resource;
};

OBI_HASH(limits_exhaustion, struct limits_failure_key, u64, 4096);

struct limits_signal_key {
	struct obi_owner owner; /* whom it was sent to */
	char sender[16]; /* empty: the kernel */
	u32 signal;
	u32 _pad;
};

OBI_HASH(limits_signals, struct limits_signal_key, u64, 4096);

#define LIMITS_FRAMES 24

/* One OOM kill; pages of the kernel's size. */
struct limits_oom_event {
	struct obi_owner victim;
	struct obi_owner requester;
	u64 time_ns; /* monotonic clock */
	u64 anon_pages;
	u64 file_pages;
	u64 shmem_pages;
	u64 limited_id; /* the memory cgroup at or above the victim's that was full, and its limit; 0: none was */
	u64 limit_pages;
	u32 pid; /* the thread that was marked */
	s32 stack_bytes;
	u64 stack[LIMITS_FRAMES]; /* return addresses, innermost first */
};

OBI_RING(limits_oom_events, 65536);
OBI_RECORD(limits_oom_events, struct limits_oom_event);

/* Whom the running thread has just sent the OOM killer's SIGKILL; mark_victim follows in the same thread. */
OBI_LRU_HASH(limits_victims, u64, struct limits_oom_event, 1024);
OBI_PERCPU_ARRAY(limits_scratch, u32, struct limits_oom_event, 1);

struct limits_signal_event {
	struct obi_owner target;
	struct obi_owner sender; /* all zero: the kernel */
	u64 time_ns; /* monotonic clock */
	u32 signal;
	s32 code;
};

OBI_RING(limits_signal_events, 65536);
OBI_RECORD(limits_signal_events, struct limits_signal_event);

_Static_assert(sizeof(struct limits_kill_key) == 40, "struct limits_kill_key has padding");
_Static_assert(sizeof(struct limits_failure_key) == 48, "struct limits_failure_key has padding");
_Static_assert(sizeof(struct limits_signal_key) == 64, "struct limits_signal_key has padding");
_Static_assert(sizeof(struct limits_oom_event) == 328, "struct limits_oom_event has padding");
_Static_assert(sizeof(struct limits_signal_event) == 96, "struct limits_signal_event has padding");

/* Count one in a row; `key` begins with its owner. */
#define LIMITS_COUNT(rows, key, account)                                                           \
	({                                                                                         \
		if (OBI_ADD(rows, key, 1)) {                                                       \
			OBI_OUTCOME(account, exported);                                            \
		} else {                                                                           \
			OBI_OUTCOME(account, lost);                                                \
			OBI_LOSE(limits_lost, LIMITS_LOST_ROW);                                    \
		}                                                                                  \
	})

#endif /* OBI_LIMITS_MAPS_H */
