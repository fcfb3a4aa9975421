/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that are full, fail to sync, cannot be written, or are of a kind on which an
 * index must not live.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "store/disk.h"
#include "tests/store/store_test.h"

/* While set, syncing a slab fails. This one replaces the C library's. */
static bool sync_fails;

int fdatasync(int fd);

int
fdatasync(int fd)
{
	char link[64], path[512];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	path[n > 0 ? n : 0] = '\0';
	if (sync_fails && strstr(path, ".slab")) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static void
test_kinds(void)
{
	struct fg_err err = FG_ERR_INIT;

	/* f_type of nfs, lustre, gpfs, fuse, cifs, 9p, ceph; ext4, xfs, btrfs, tmpfs */
	static const uint32_t bad[] = {0x6969, 0x0bd00bd0, 0x47504653, 0x65735546,
	    0xff534d42, 0x01021997, 0x00c36400};
	static const uint32_t good[] = {0xef53, 0x58465342, 0x9123683e, 0x01021994};

	for (size_t i = 0; i < FG_COUNTOF(bad); i++)
		tap_ok(fg_disk_refused(bad[i]) != NULL, "%s is refused",
		    fg_disk_refused(bad[i]));
	for (size_t i = 0; i < FG_COUNTOF(good); i++)
		tap_ok(fg_disk_refused(good[i]) == NULL, "%08x is fine", good[i]);
	tap_rc(fg_disk_check_index("/proc", &err), &err, "a folder that can be asked");
	tap_fails(fg_disk_check_index("/nonexistent", &err), &err, FG_ENOENT,
	    "/nonexistent", "one that is not there");
}

/* Commit blocks from n on until one fails; the number of the first that did. */
static int
fill(struct fg_store *s, uint32_t layer, int n, struct fg_err *err)
{
	while (n < ST_BLOCKS && st_commit_one(s, st_block_n(layer, n, 3), err) == 0)
		n++;
	return n;
}

static int
check_all(struct fg_store *s, uint32_t layer, int n)
{
	struct fg_reader *rd = st_reader(s);
	int faults = 0;

	for (int i = 0; i < ST_BLOCKS; i++)
		faults += st_check_block_n(s, rd, layer, i, 3) != (i < n);
	fg_reader_close(rd);
	return faults;
}

static void
raise_limit(void)
{
	struct rlimit r;

	getrlimit(RLIMIT_FSIZE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_FSIZE, &r);
}

/* Fill the disk, make room, go on, open again. make_room() gives it some space. */
static void
run_full(const struct fg_store_options *opt, void (*make_room)(void), const char *what)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = st_open_with(FG_STORE_CREATE, opt);
	uint32_t layer = st_add_layer(s, "seg");
	int n = fill(s, layer, 0, &err);

	printf("# %s: %d blocks, then %s: %s\n", what, n, fg_code_name(err.code),
	    err.msg);
	/* SQLite keeps no errno for a file that hit its limit: an I/O error then. */
	tap_ok(n > 2 && n < ST_BLOCKS &&
		   (err.code == FG_EFULL ||
		       (make_room == raise_limit && err.code == FG_EIO)),
	    "%s is full", what);
	for (int i = 0; i < 5; i++) {
		fg_err_clear(&err);
		if (st_commit_one(s, st_block_n(layer, n, 3), &err) == 0)
			n++;
	}
	tap_int(check_all(s, layer, n), 0, "%s: what was committed is there, no more",
	    what);
	make_room();
	fg_err_clear(&err);
	tap_rc(st_commit_one(s, st_block_n(layer, n, 3), &err), &err,
	    "with room again commits work");
	tap_rc(st_commit_one(s, st_block_n(layer, n + 1, 3), &err), &err, "and work");
	tap_int(check_all(s, layer, n + 2), 0, "%s: all there", what);
	fg_store_close(s);
	tap_int(fg_store_reindex(st_root, opt, NULL, NULL, NULL, NULL, &err), 0,
	    "%s: reindex", what);
	s = st_open_with(FG_STORE_WRITE, opt);
	tap_int(check_all(s, layer, n + 2), 0, "%s: finds the same", what);
	fg_store_close(s);
}

static char small_disk[300];

static void
remove_filler(void)
{
	char path[400];

	snprintf(path, sizeof path, "%s/filler", small_disk);
	unlink(path);
}

/* A disk of `kib` KiB, three quarters of it taken by a file. */
static bool
mount_small(int kib)
{
	char size[32], path[400];
	int fd;

	snprintf(size, sizeof size, "size=%dk", kib);
	mkdir(small_disk, 0777);
	if (mount("tmpfs", small_disk, "tmpfs", 0, size) < 0)
		return false;
	snprintf(path, sizeof path, "%s/filler", small_disk);
	fd = open(path, O_WRONLY | O_CREAT, 0666);
	if (fd < 0 || posix_fallocate(fd, 0, (off_t)kib * 768) != 0)
		printf("# filler: %s\n", strerror(errno));
	if (fd >= 0)
		close(fd);
	return true;
}

static void
test_small_disks(void)
{
	struct fg_store_options opt = {.min_free = 1e-9};
	char root[256];

	st_folder();
	snprintf(small_disk, sizeof small_disk, "%s/disk", st_root);
	snprintf(root, sizeof root, "%s", st_root);
	if (!mount_small(4096)) {
		/* The file size limit below covers the same paths of the code. */
		printf("# NOT RUN: small disks: cannot mount a tmpfs (%s)\n",
		    strerror(errno));
		fprintf(stderr, "NOT RUN: small disks: cannot mount a tmpfs\n");
		tap_ok(geteuid() != 0 || !getenv("CI"), "root in CI can mount");
		st_cleanup();
		return;
	}
	snprintf(st_root, sizeof st_root, "%.250s/d", small_disk);
	run_full(&opt, remove_filler, "one disk");
	umount2(small_disk, MNT_DETACH);

	mount_small(2048);
	snprintf(st_root, sizeof st_root, "%.250s/d", root);
	opt.index_dir = small_disk;
	run_full(&opt, remove_filler, "the index's disk");
	umount2(small_disk, MNT_DETACH);

	mount_small(1024);
	st_run("rm -rf '%s'", st_root);
	snprintf(st_root, sizeof st_root, "%.250s/d", small_disk);
	opt.index_dir = root;
	run_full(&opt, remove_filler, "the slabs' disk");
	umount2(small_disk, MNT_DETACH);
	snprintf(st_root, sizeof st_root, "%s", root);
	st_cleanup();
}

static void
test_file_limit(void)
{
	struct fg_store_options opt = {.min_free = 1e-9};
	struct rlimit r;

	st_folder();
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &r);
	r.rlim_cur = 500000;
	setrlimit(RLIMIT_FSIZE, &r);
	run_full(&opt, raise_limit, "a file");
	st_cleanup();
}

static void
test_failed_sync(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	uint32_t layer;

	st_folder();
	s = st_open(FG_STORE_CREATE);
	layer = st_add_layer(s, "seg");
	tap_int(fill(s, layer, ST_BLOCKS - 2, &err), ST_BLOCKS, "two blocks");
	tap_rc(st_commit_one(s, st_block_n(layer, 0, 3), &err), &err, "and one");
	sync_fails = true;
	tap_fails(st_commit_one(s, st_block_n(layer, 1, 3), &err), &err, FG_EIO, "sync",
	    "a failing sync fails the commit");
	struct fg_reader *rd = st_reader(s);
	tap_int(st_check_block_n(s, rd, layer, 1, 3), 0, "nothing of it is visible");
	sync_fails = false;
	long long size = st_size(st_slab(1));
	tap_rc(st_commit_one(s, st_block_n(layer, 1, 3), &err), &err, "the next works");
	tap_int(st_size(st_slab(1)), size, "the slab that failed is not touched again");
	tap_ok(st_size(st_slab(2)) > 0, "it is in a new one");
	tap_int(st_check_block_n(s, rd, layer, 1, 3), 1, "and right");
	fg_reader_close(rd);
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify is content");
	s = st_open(FG_STORE_WRITE);
	tap_rc(st_commit_one(s, st_block_n(layer, 2, 3), &err), &err,
	    "after a restart");
	tap_int(st_size(st_slab(1)), size, "the slab stays closed");
	sync_fails = true;
	tap_fails(st_commit_one(s, st_block_n(layer, 3, 3), &err), &err, FG_EIO, "sync",
	    "it fails again");
	fg_store_close(s);
	sync_fails = false;
	s = st_open(FG_STORE_WRITE);
	rd = st_reader(s);
	tap_ok(st_check_block_n(s, rd, layer, 3, 3) >= 0, "whole or not there");
	tap_int(st_check_block_n(s, rd, layer, 2, 3), 1, "the others are");
	fg_reader_close(rd);
	fg_store_close(s);
	tap_int(st_verify(st_root), 0, "verify is content");
	st_cleanup();
}

/* As a user who may not write there: opening to write says so, reading works. */
static int
run_read_only(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	struct fg_reader *rd;
	struct fg_store_counts c;

	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return 10;
	s = fg_store_open(st_root, FG_STORE_WRITE, &st_opt, &err);
	if (s || err.code != FG_EIO || !strstr(err.msg, "lock: Permission denied")) {
		printf("# %s\n", err.msg);
		return 11;
	}
	fg_err_clear(&err);
	s = fg_store_open(st_root, FG_STORE_READ, &st_opt, &err);
	rd = s ? fg_reader_open(s, &err) : NULL;
	if (!rd || fg_reader_count(rd, 0, &c, &err) < 0 || c.blocks_done != 1 ||
	    st_check_block_n(s, rd, 1, 0, 3) != 1) {
		printf("# %s\n", err.msg);
		return 12;
	}
	fg_reader_close(rd);
	fg_store_close(s);
	return 0;
}

static void
test_read_only(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s;
	int status;
	pid_t pid;

	st_folder();
	s = st_open(FG_STORE_CREATE);
	tap_int(st_add_layer(s, "seg"), 1, "a layer");
	tap_rc(st_commit_one(s, st_block_n(1, 0, 3), &err), &err, "a block");
	fg_store_close(s);
	tap_int(st_run("chmod -R a-w,a+rX '%s'", st_root), 0, "made read-only");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int rc = run_read_only();

		fflush(stdout);
		_exit(rc);
	}
	waitpid(pid, &status, 0);
	tap_int(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0,
	    "writing is refused with the reason, reading works");
	st_run("chmod -R u+w '%s'", st_root);
	st_cleanup();
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	test_kinds();
	test_failed_sync();
	test_read_only();
	test_small_disks();
	test_file_limit();
	return tap_done();
}
