/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For LD_PRELOAD: files with "slow" in their path are on a disk that takes half a
 * second to read, and never in memory.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* clang-format off */
#define REAL(name) ((__typeof__(&name))(void *)real(#name))
/* clang-format on */

static void *
real(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

static int
is_slow(int fd)
{
	char self[40], path[4096] = "";

	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	return readlink(self, path, sizeof path - 1) > 0 && strstr(path, "slow");
}

static void
wait_for_disk(int fd)
{
	const struct timespec half = {.tv_nsec = 500000000};

	if (is_slow(fd))
		nanosleep(&half, NULL);
}

int
mincore(void *addr, size_t len, unsigned char *there)
{
	(void)addr;
	memset(there, 0, (len + 4095) / 4096);
	return 0;
}

ssize_t
pread(int fd, void *p, size_t n, off_t off)
{
	wait_for_disk(fd);
	return REAL(pread)(fd, p, n, off);
}

ssize_t
pread64(int fd, void *p, size_t n, off64_t off)
{
	wait_for_disk(fd);
	return REAL(pread64)(fd, p, n, off);
}

ssize_t
preadv2(int fd, const struct iovec *v, int n, off_t off, int flags)
{
	if (flags & RWF_NOWAIT && is_slow(fd)) {
		errno = EAGAIN;
		return -1;
	}
	return REAL(preadv2)(fd, v, n, off, flags);
}

ssize_t
sendfile64(int to, int fd, off64_t *off, size_t n)
{
	wait_for_disk(fd);
	return REAL(sendfile64)(to, fd, off, n);
}
