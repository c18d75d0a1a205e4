/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What the benchmark makes the kernel do: one thread, fixed counts, one CPU.
 *
 *   workload CPU PRIORITY NAME COUNT [NAME COUNT]...
 *
 * Prints one line per workload: name, operations, process CPU time in ns, TCP segments received meanwhile. Sides of a
 * connection are in the same thread, and loopback TCP does its softirq work inside the system call, so the process's CPU time
 * holds all of it. PRIORITY is that of SCHED_FIFO, so that nobody preempts it; 0 leaves the policy alone. The workload lives in
 * a network namespace of its own: neither TIME_WAIT of an earlier run nor anybody's ports are in its way.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PORT 7077
#define DESTINATIONS 200
#define SMALL 64
#define LARGE 65536

static char buffer[LARGE];

static long must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
		exit(1);
	}
	return result;
}

static long long cpu_ns(void)
{
	struct timespec now;

	must(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), "clock_gettime");
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Tcp: InSegs of this network namespace, the tenth number of the second line that starts so. */
static long segments(void)
{
	FILE *file = fopen("/proc/thread-self/net/snmp", "r");
	char line[1024];
	long found = -1;

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "Tcp: %*d %*d %*d %*d %*d %*d %*d %*d %*d %ld", &found);
	if (file)
		fclose(file);
	return must(found, "/proc/thread-self/net/snmp");
}

static struct sockaddr_in address(unsigned int host)
{
	struct sockaddr_in made = { .sin_family = AF_INET, .sin_port = htons(PORT) };

	made.sin_addr.s_addr = htonl(host);
	return made;
}

static int listening(void)
{
	struct sockaddr_in any = address(INADDR_ANY);
	int one = 1, fd = must(socket(AF_INET, SOCK_STREAM, 0), "socket");

	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), "SO_REUSEADDR");
	must(bind(fd, (struct sockaddr *)&any, sizeof(any)), "bind");
	must(listen(fd, 16), "listen");
	return fd;
}

static void connected(int listener, unsigned int number, int pair[2])
{
	struct sockaddr_in there = address(INADDR_LOOPBACK + number % DESTINATIONS);

	pair[0] = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
	must(connect(pair[0], (struct sockaddr *)&there, sizeof(there)), "connect");
	pair[1] = must(accept(listener, NULL, NULL), "accept");
}

static void move(int from, int to, size_t bytes)
{
	must(write(from, buffer, bytes) == (ssize_t)bytes ? 0 : -1, "write");
	for (size_t got = 0; got < bytes;)
		got += must(read(to, buffer, bytes - got) ?: -1, "read");
}

static void calls(long count)
{
	while (count--)
		syscall(SYS_getppid);
}

static void pipe_bytes(long count)
{
	int pair[2];

	must(pipe(pair), "pipe");
	while (count--)
		move(pair[1], pair[0], 1);
	close(pair[0]);
	close(pair[1]);
}

static void churn(long count)
{
	int listener = listening(), pair[2];

	while (count--) {
		connected(listener, count, pair);
		close(pair[0]);
		close(pair[1]);
	}
	close(listener);
}

static void exchange(long count, size_t there, size_t back)
{
	int listener = listening(), pair[2], one = 1;

	connected(listener, 0, pair);
	must(setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), "TCP_NODELAY");
	must(setsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), "TCP_NODELAY");
	while (count--) {
		move(pair[0], pair[1], there);
		if (back)
			move(pair[1], pair[0], back);
	}
	close(pair[0]);
	close(pair[1]);
	close(listener);
}

static void run(const char *name, long count)
{
	long before = segments();
	long long began = cpu_ns();

	if (!strcmp(name, "getppid"))
		calls(count);
	else if (!strcmp(name, "pipe"))
		pipe_bytes(count);
	else if (!strcmp(name, "churn"))
		churn(count);
	else if (!strcmp(name, "request"))
		exchange(count, SMALL, SMALL);
	else if (!strcmp(name, "bulk"))
		exchange(count, LARGE, 0);
	else
		exit(2);
	began = cpu_ns() - began;
	printf("%s %ld %lld %ld\n", name, count, began, segments() - before);
}

static void stand_alone(int cpu, int priority)
{
	struct sched_param fifo = { .sched_priority = priority };
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	cpu_set_t one;
	int fd;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	must(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
	if (priority && sched_setscheduler(0, SCHED_FIFO, &fifo))
		fprintf(stderr, "workload: SCHED_FIFO: %s; neighbours may preempt it\n",
			strerror(errno));
	must(unshare(CLONE_NEWNET), "unshare");
	fd = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
	must(ioctl(fd, SIOCSIFFLAGS, &loopback), "lo up");
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc < 5 || argc % 2 == 0)
		return 2;
	stand_alone(atoi(argv[1]), atoi(argv[2]));
	for (int each = 3; each < argc; each += 2)
		run(argv[each], atol(argv[each + 1]));
	return 0;
}
