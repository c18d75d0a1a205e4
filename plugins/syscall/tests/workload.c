/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * System calls in known numbers, under a process name of one's own.
 *
 *   workload NAME STEP [ARGUMENT]...
 *
 * An empty NAME keeps the one that exec gave. A step that waits says "ready" and goes on when it is given a line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long number(char **words, int at)
{
	return words[at] ? atol(words[at]) : 0;
}

static void must(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static void rename_to(const char *name)
{
	must(prctl(PR_SET_NAME, name), "prctl");
}

static void ready(void)
{
	char line[16];

	must(write(STDOUT_FILENO, "ready\n", 6), "write");
	must(read(STDIN_FILENO, line, sizeof(line)), "read");
}

static void getppids(char **words)
{
	long count = number(words, 0);

	while (count--)
		syscall(SYS_getppid);
}

static void missing_files(long count)
{
	while (count--)
		syscall(SYS_openat, AT_FDCWD, "/nonexistent", O_RDONLY);
}

/* EAGAIN so many times. */
static void full_pipe(long count)
{
	char byte = 0;
	int pair[2];

	must(pipe2(pair, O_NONBLOCK), "pipe2");
	must(fcntl(pair[1], F_SETPIPE_SZ, 4096), "F_SETPIPE_SZ");
	while (write(pair[1], &byte, 1) == 1)
		;
	while (--count > 0)
		if (write(pair[1], &byte, 1) != -1)
			exit(1);
}

/* openat, getppid and write in the numbers given; before the last write that fails, 4096 that do not. */
static void mix(char **words)
{
	missing_files(number(words, 0));
	getppids(words + 1);
	full_pipe(number(words, 2));
}

/* A read that waits for `ms` milliseconds, so many times: the other side writes at that pace. */
static void slow_reads(char **words)
{
	long count = number(words, 0), ms = number(words, 1);
	struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	int pair[2], back[2];
	char byte = 0;

	must(pipe(pair), "pipe");
	must(pipe(back), "pipe");
	if (!fork()) {
		rename_to("obifeeder");
		close(back[1]);
		while (read(back[0], &byte, 1) == 1) {
			nanosleep(&pause, NULL);
			must(write(pair[1], &byte, 1), "write");
		}
		_exit(0);
	}
	while (count--) {
		must(write(back[1], &byte, 1), "write");
		must(read(pair[0], &byte, 1), "read");
	}
	close(back[1]);
	wait(NULL);
}

static void sleeps(char **words)
{
	long count = number(words, 0), ms = number(words, 1);
	struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (count--)
		nanosleep(&pause, NULL);
}

static void forks(char **words)
{
	long count = number(words, 0);

	while (count--) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
}

static int waited_on[2];

static void *wait_for_ever(void *unused)
{
	char byte;

	must(read(waited_on[0], &byte, 1), "read");
	return unused;
}

static void *nothing(void *unused)
{
	return unused;
}

static void start(long count, void *(*what)(void *))
{
	pthread_attr_t small;
	pthread_t thread;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 16384);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	while (count--)
		if (pthread_create(&thread, &small, what, NULL))
			exit(1);
}

/* So many threads in a read that never returns; then the process ends with the step's word: exit, exec, or it is killed. */
static void stuck(char **words)
{
	must(pipe(waited_on), "pipe");
	start(number(words, 0), wait_for_ever);
	ready();
	if (words[1] && !strcmp(words[1], "exec"))
		execl("/bin/true", "true", NULL);
}

/* So many threads that end by themselves. */
static void threads(char **words)
{
	start(number(words, 0), nothing);
	pthread_exit(NULL);
}

/* So many process names, prefix and number, each with so many calls that fail. */
static void names(char **words)
{
	char name[16];

	for (long each = 0; each < number(words, 1); each++) {
		snprintf(name, sizeof(name), "%.8s%04u", words[0], (unsigned int)each % 10000);
		rename_to(name);
		missing_files(number(words, 2));
	}
}

#ifdef __x86_64__
static long compat(long what, long first)
{
	long result;

	asm volatile("int $0x80"
		     : "=a"(result)
		     : "0"(what), "b"(first), "c"(0), "d"(0)
		     : "memory", "r8", "r9", "r10", "r11");
	return result;
}

/* 32-bit calls of three numbers: open of nothing (5 is fstat to 64 bits), getpid (20 is writev), close of no file (6 is lstat); then exit_group. */
static void compat_calls(char **words)
{
	long count = number(words, 0);

	while (count--) {
		compat(5, 0);
		compat(20, 0);
		compat(6, -1);
	}
	compat(252, 0);
}
#else
static void compat_calls(char **words)
{
	exit(77);
}
#endif

static void waiting(char **words)
{
	ready();
	mix(words);
	ready();
}

static const struct {
	const char *name;
	void (*run)(char **words);
} steps[] = {
	{ "mix", mix },		 { "waiting", waiting },
	{ "getppid", getppids }, { "reads", slow_reads },
	{ "sleeps", sleeps },	 { "forks", forks },
	{ "threads", threads },	 { "stuck", stuck },
	{ "names", names },	 { "compat", compat_calls },
};

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	if (*argv[1])
		rename_to(argv[1]);
	for (size_t each = 0; each < sizeof(steps) / sizeof(*steps); each++)
		if (!strcmp(argv[2], steps[each].name)) {
			steps[each].run(argv + 3);
			return 0;
		}
	return 2;
}
