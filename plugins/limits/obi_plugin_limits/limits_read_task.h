/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What can be read of another task than the running one: CO-RE only. */
#ifndef OBI_LIMITS_READ_TASK_H
#define OBI_LIMITS_READ_TASK_H

/* include/linux/mm_types_task.h */
#define LIMITS_MM_FILE 0
#define LIMITS_MM_ANON 1
#define LIMITS_MM_SHMEM 3

/* Memory cgroups above each other that are looked at. */
#define LIMITS_DEPTH 16
/* Pages that a CPU takes at once (MEMCG_CHARGE_BATCH): nearer to its limit than this a cgroup is full. */
#define LIMITS_BATCH 64

/*
 * Pages of one kind, as the kernel's own report of a kill gives them: what single CPUs hold back is not in it. A macro, since the
 * index must be a constant: only then the size of an element is the kernel's and not that of kernel.h.
 */
#define LIMITS_PAGES(mm, kind)                                                                     \
	({                                                                                         \
		struct mm_struct___v6_1 *_before = (void *)(mm);                                   \
		s64 _pages;                                                                        \
		if (bpf_core_field_exists(_before->rss_stat.count))                                \
			_pages = BPF_CORE_READ(_before, rss_stat.count[kind].counter);             \
		else                                                                               \
			_pages = BPF_CORE_READ(mm, rss_stat[kind].count);                          \
		_pages < 0 ? 0 : _pages;                                                           \
	})

/* The first memory cgroup from the task's own upward that is full. */
static __always_inline void limits_find_full(struct task_struct *task,
					     struct limits_oom_event *event)
{
	struct css_set *cgroups = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *css;
	struct page_counter *counter;
	int level;

	if (bpf_probe_read_kernel(&css, sizeof(css),
				  (void *)cgroups + bpf_core_field_offset(struct css_set, subsys) +
					  bpf_core_enum_value(enum cgroup_subsys_id,
							      memory_cgrp_id) *
						  sizeof(css)))
		return;
	counter = (void *)css - bpf_core_field_offset(struct mem_cgroup, css) +
		  bpf_core_field_offset(struct mem_cgroup, memory);
	for (level = 0; level < LIMITS_DEPTH && counter; level++) {
		u64 max = BPF_CORE_READ(counter, max);

		if (BPF_CORE_READ(counter, usage.counter) + LIMITS_BATCH >= max) {
			css = (void *)counter - bpf_core_field_offset(struct mem_cgroup, memory) +
			      bpf_core_field_offset(struct mem_cgroup, css);
			event->limited_id = BPF_CORE_READ(css, cgroup, kn, id);
			event->limit_pages = max;
			return;
		}
		counter = BPF_CORE_READ(counter, parent);
	}
}

/* Remember whom the running thread sends the kernel's SIGKILL: if it is the OOM killer, mark_victim follows. */
static __always_inline void limits_remember_victim(struct task_struct *task)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct limits_oom_event *event;
	u32 first = 0;

	event = OBI_LOOKUP(limits_scratch, &first);
	if (!event)
		return;
	obi_owner_of(task, &event->victim);
	event->pid = BPF_CORE_READ(task, pid);
	event->anon_pages = LIMITS_PAGES(mm, LIMITS_MM_ANON);
	event->file_pages = LIMITS_PAGES(mm, LIMITS_MM_FILE);
	event->shmem_pages = LIMITS_PAGES(mm, LIMITS_MM_SHMEM);
	event->limited_id = 0;
	event->limit_pages = 0;
	limits_find_full(task, event);
	OBI_UPDATE(limits_victims, &thread, event);
}

#endif /* OBI_LIMITS_READ_TASK_H */
