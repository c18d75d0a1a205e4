/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* System calls that failed because something was used up. */
#ifndef OBI_LIMITS_EXHAUSTION_H
#define OBI_LIMITS_EXHAUSTION_H

/* include/uapi/asm-generic/errno-base.h, errno.h: the same on every architecture of ours. */
#define LIMITS_EAGAIN 11
#define LIMITS_ENOMEM 12
#define LIMITS_ENFILE 23
#define LIMITS_EMFILE 24
#define LIMITS_ENOSPC 28
#define LIMITS_EADDRNOTAVAIL 99

enum limits_call { LIMITS_ANY_CALL, LIMITS_FORK_CALL, LIMITS_WATCH_CALL };

/* What was used up, or -1: it failed for another reason, or did not. */
static inline __attribute__((always_inline)) int limits_exhausted(s64 result, enum limits_call call)
{
	switch (-result) {
	case LIMITS_EMFILE:
	case LIMITS_ENFILE:
		return LIMITS_DESCRIPTORS;
	case LIMITS_ENOMEM:
		return LIMITS_MEMORY;
	case LIMITS_EADDRNOTAVAIL:
		return LIMITS_PORTS;
	case LIMITS_ENOSPC:
		return call == LIMITS_WATCH_CALL ? LIMITS_WATCHES : LIMITS_STORAGE;
	case LIMITS_EAGAIN:
		return call == LIMITS_FORK_CALL ? LIMITS_PROCESSES : -1;
	default:
		return -1;
	}
}

static inline __attribute__((always_inline)) void limits_returned(s64 result, enum limits_call call)
{
	struct limits_failure_key key = {};
	struct obi_account *account;
	struct obi_owner owner;
	int resource;

	if (result >= 0)
		return;
	resource = limits_exhausted(result, call);
	if (resource < 0)
		return;
	account = OBI_SEEN(limits_account);
	obi_owner_now(&owner);
	obi_owner_key(&key.owner, &owner);
	key.error = -result;
	key.resource = resource;
	LIMITS_COUNT(limits_exhaustion, &key, account);
}

#endif /* OBI_LIMITS_EXHAUSTION_H */
