/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What BCC can know of the running task, which reads no kernel struct: not whether its call is a 32-bit one. */
#ifndef OBI_SYSCALL_READ_ARGS_H
#define OBI_SYSCALL_READ_ARGS_H

static inline bool syscall_is_compat_now(void)
{
	return false;
}

#endif /* OBI_SYSCALL_READ_ARGS_H */
