/* SPDX-License-Identifier: Apache-2.0 */
/* File systems, free space, crash points: see the header. */
#include "config.h"

#include "store/disk.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* f_type values: statfs(2), linux/magic.h, and the projects' own headers. */
static const struct {
	uint32_t type;
	const char *name;
} refused[] = {
    {0x00006969, "nfs"},
    {0x0bd00bd0, "lustre"},
    {0x47504653, "gpfs"},
    {0x65735546, "fuse"},
    {0xff534d42, "cifs"},
    {0xfe534d42, "smb2"},
    {0x0000517b, "smb"},
    {0x01021997, "9p"},
    {0x00c36400, "ceph"},
    {0x5346414f, "afs"},
    {0x6b414653, "afs"},
    {0x73757245, "coda"},
    {0x19830326, "beegfs"},
    {0xaad7aaea, "panfs"},
    {0x20030528, "orangefs"},
};

const char *
fg_disk_refused(uint32_t type)
{
	for (size_t i = 0; i < FG_COUNTOF(refused); i++) {
		if (refused[i].type == type)
			return refused[i].name;
	}
	return NULL;
}

int
fg_disk_check_index(const char *path, struct fg_err *err)
{
	struct statfs st;
	const char *name;

	if (statfs(path, &st) < 0)
		return fg_fail_errno(err, "%s", path);
	name = fg_disk_refused((uint32_t)st.f_type);
	if (name)
		return fg_fail(err, FG_ENOTSUP,
		    "%s is on a %s file system, where SQLite's WAL does not work: set "
		    "index_dir to a folder on a local disk",
		    path, name);
	return 0;
}

int
fg_disk_check_room(const char *path, double min_free, struct fg_err *err)
{
	struct statvfs st;
	double share;

	if (statvfs(path, &st) < 0)
		return fg_fail_errno(err, "%s", path);
	if (st.f_blocks == 0) /* some pseudo file systems tell nothing */
		return 0;
	if (st.f_bavail == 0)
		return fg_fail(err, FG_EFULL, "disk of %s is full", path);
	share = (double)st.f_bavail / (double)st.f_blocks;
	if (share < min_free)
		return fg_fail(err, FG_EFULL,
		    "disk of %s: %.1f %% free, %.3g %% are kept", path, 100 * share,
		    100 * min_free);
	return 0;
}

void
fg_crash_init(struct fg_crash *c)
{
	const char *text = getenv("FG_CRASH_AT");
	const char *colon = text ? strchr(text, ':') : NULL;

	*c = (struct fg_crash){.left = 1};
	if (!text)
		return;
	snprintf(c->point, sizeof c->point, "%.*s",
	    colon ? (int)(colon - text) : (int)strlen(text), text);
	if (colon)
		c->left = (unsigned)strtoul(colon + 1, NULL, 10);
}

bool
fg_crash_is_due(struct fg_crash *c, const char *point)
{
	return *c->point && strcmp(c->point, point) == 0 && --c->left == 0;
}

void
fg_crash_now(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

void
fg_crash_at(struct fg_crash *c, const char *point)
{
	if (fg_crash_is_due(c, point))
		fg_crash_now();
}
