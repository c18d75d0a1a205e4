/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the syscall probe keeps: a slot for each owner, and what was counted there. */
#ifndef OBI_SYSCALL_MAPS_H
#define OBI_SYSCALL_MAPS_H

/* Numbers of one instruction set; both halves of the table have so many. */
#define SYSCALL_NUMBERS 512
/* Classes of calls that are kept apart; 0 is whatever the settings do not name. Also in table.py. */
#define SYSCALL_CLASSES 256

/* An entry of the table, in step with `Flag` in table.py: the class in the low byte, and what is special about the call. */
#define SYSCALL_CLASS(entry) ((entry)&0xff)
#define SYSCALL_TIMED 0x100 /* its latency counts */
#define SYSCALL_FORKS 0x200 /* returns twice, with 0 in the child */
#define SYSCALL_ENDS 0x400 /* never returns */

/* Slots that are none. */
#define SYSCALL_NO_SLOT 0xffffffff
#define SYSCALL_OWN_SLOT 0xfffffffe /* the agent itself */

/* Places where syscall_lost counts. */
enum syscall_loss {
	SYSCALL_LOST_OWNER, /* calls, with their errors and durations, of owners that found no slot */
	SYSCALL_LOST_ERROR, /* a table was full … */
	SYSCALL_LOST_DURATION,
	SYSCALL_LOST_START, /* no memory to remember when a call began */
	SYSCALL_LOST_EVENT, /* the ring was full */
	SYSCALL_LIMITED_EVENT, /* more slow calls than the limit lets out */
	SYSCALL_LOSSES,
};

/* In step with `Buckets` in catalogue.py: from 2^-23 s (119 ns) to 2^3 s. */
#define SYSCALL_BUCKETS 104
#define SYSCALL_FIRST (-92)

/* What to do with each number; user space fills it. Native numbers first, then those of 32-bit calls. */
OBI_ARRAY(syscall_table, u32, u32, 2 * SYSCALL_NUMBERS);

struct syscall_owner_key {
	struct obi_owner owner;
};

/* Owner → slot. Slots come from user space, which takes them back when their owner is gone. */
OBI_HASH(syscall_owners, struct syscall_owner_key, u32, 1024);
OBI_QUEUE(syscall_free, u32, 1024);

struct syscall_counts {
	u64 calls[SYSCALL_CLASSES];
};

/* One row per slot. */
OBI_ARRAY(syscall_calls, u32, struct syscall_counts, 1024);

struct syscall_key {
	u32 slot;
	u16 class;
	u16 error; /* errno; 0: success */
};

_Static_assert(sizeof(struct syscall_key) == 8,
	       "the key of errors and durations is hashed at each call");

OBI_HASH(syscall_errors, struct syscall_key, u64, 4096);

struct syscall_durations {
	u64 counts[SYSCALL_BUCKETS];
	u64 sum_ns;
	u64 max_ns;
};

OBI_HASH(syscall_duration, struct syscall_key, struct syscall_durations, 4096);

/* A new row starts from here: a histogram is too large for the stack. */
OBI_ARRAY(syscall_zero, u32, struct syscall_durations, 1);

OBI_ACCOUNT(syscall_account);
OBI_LOSSES(syscall_lost, SYSCALL_LOSSES);

struct syscall_event {
	struct obi_owner owner;
	u64 start_ns; /* monotonic clock */
	u64 end_ns;
	s64 result;
	u32 number; /* place in syscall_table */
	u32 thread;
};

OBI_RING(syscall_events, 131072);
OBI_RECORD(syscall_events, struct syscall_event);

#endif /* OBI_SYSCALL_MAPS_H */
