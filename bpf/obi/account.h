/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * A balanced account: what became of everything that a probe's programs saw.
 *
 *   OBI_ACCOUNT(name)              the map: one struct obi_account per CPU
 *   OBI_SEEN(name)                 count one thing as seen; gives the account, for the outcome
 *   OBI_OUTCOME(account, outcome)  count its one outcome: exported, filtered, sampled_out or lost
 *
 * A thing is whatever would be added to a row: a packet, a call, a connect. It is counted as seen where the program meets it, and
 * where it leaves with exactly one outcome, so that seen = exported + filtered + sampled_out + lost holds whenever nothing is under
 * way. Of a thing that stands for others (obi_sample) the others were counted as sampled_out. Why something was lost stands beside
 * it, in OBI_LOSSES. The adds are atomic: a program may be interrupted by another that shares the account.
 */
#ifndef OBI_ACCOUNT_H
#define OBI_ACCOUNT_H

#include <obi/maps.h>

struct obi_account {
	u64 seen;
	u64 exported;
	u64 filtered;
	u64 sampled_out;
	u64 lost;
};

#define OBI_ACCOUNT(name) OBI_PERCPU_ARRAY(name, u32, struct obi_account, 1)

#define OBI_SEEN(name)                                                                             \
	({                                                                                         \
		u32 _cell = 0;                                                                     \
		struct obi_account *_account = OBI_LOOKUP(name, &_cell);                           \
		if (_account)                                                                      \
			__sync_fetch_and_add(&_account->seen, 1);                                  \
		_account;                                                                          \
	})

#define OBI_OUTCOME(account, outcome)                                                              \
	({                                                                                         \
		struct obi_account *_entry_of = (account);                                         \
		if (_entry_of)                                                                     \
			__sync_fetch_and_add(&_entry_of->outcome, 1);                              \
	})

#endif /* OBI_ACCOUNT_H */
