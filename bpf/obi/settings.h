/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Settings that user space gives a program.
 *
 *   OBI_SETTING(type, name, default)   fixed at load; the verifier removes the branches that it switches off
 *   OBI_LIVE(type, name)               changed while running; OBI_LIVE_GET(type, name) reads it
 */
#ifndef OBI_SETTINGS_H
#define OBI_SETTINGS_H

#ifdef OBI_BCC
/* Read-only data does not load through BCC: a scalar that the compiler folds does. OBI_CHOOSE: see maps_bcc.h. */
#define OBI_SETTING(type, name, initial)                                                           \
	static const type name = OBI_CHOOSE(OBI_SETTING_##name, initial)
#else
#define OBI_SETTING(type, name, initial) const volatile type name = initial
#endif

#define OBI_LIVE(type, name) OBI_ARRAY(name, u32, type, 1)
#define OBI_LIVE_GET(type, name)                                                                   \
	({                                                                                         \
		u32 _first = 0;                                                                    \
		type *_live = OBI_LOOKUP(name, &_first);                                           \
		_live ? *_live : 0;                                                                \
	})

#endif /* OBI_SETTINGS_H */
