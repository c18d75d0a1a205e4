/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the perf tracepoints need to know of the running task, also before v5.11: CO-RE only. */
#ifndef OBI_SYSCALL_READ_TASK_H
#define OBI_SYSCALL_READ_TASK_H

static __always_inline bool syscall_is_compat_now(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if (bpf_core_field_exists(task->thread_info.status))
		return BPF_CORE_READ(task, thread_info.status) & OBI_TS_COMPAT;
	return BPF_CORE_READ(task, thread_info.flags) >> OBI_TIF_32BIT & 1;
}

#endif /* OBI_SYSCALL_READ_TASK_H */
