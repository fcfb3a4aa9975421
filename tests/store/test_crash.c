/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer is killed, at every commit point and at random moments. A child commits and
 * tells through a pipe what fg_commit has acknowledged; the parent opens what is left:
 * nothing acknowledged may be lost, nothing may be wrong or half there.
 */
#include "config.h"

#include <signal.h>

#include "base/log.h"
#include "tests/store/store_test.h"

/* Slabs of about four blocks, so that new ones are begun all the time. */
static const struct fg_store_options small = {.min_free = 1e-9, .slab_max = 60000};

/* The child: commit blocks in groups from the first one that is not there, writing the
 * number of each to fd once it is acknowledged. */
static void
commit_all(uint32_t layer, int group, int fd)
{
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	struct fg_reader *rd = st_reader(s);
	struct fg_err err = FG_ERR_INIT;
	int n = 0;

	while (n < ST_BLOCKS && st_check_block_n(s, rd, layer, n, 0) == 1)
		n++;
	while (n < ST_BLOCKS) {
		struct fg_result *r[8];
		int k = 0;

		for (; k < group && n + k < ST_BLOCKS; k++)
			r[k] = st_block_n(layer, n + k, 0);
		if (fg_commit(s, r, (size_t)k, &err) < 0) {
			fprintf(stderr, "# child: %s\n", err.msg);
			_exit(3);
		}
		for (int i = 0; i < k; i++) {
			int32_t done = n + i;

			if (write(fd, &done, sizeof done) != sizeof done)
				_exit(4);
			st_result_free(r[i]);
		}
		n += k;
	}
	_exit(0);
}

/* Run the child until it dies; kill it `after_us` after it acknowledged `after_acks`
 * blocks, unless after_us is negative. Marks what was acknowledged; returns the signal
 * that ended it. */
static int
run_child(uint32_t layer, int group, const char *point, int after_acks, int after_us,
    bool *acked)
{
	int fd[2], status;
	int32_t n;
	pid_t pid;

	if (pipe(fd) < 0)
		return -1;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		close(fd[0]);
		if (point)
			setenv("FG_CRASH_AT", point, 1);
		commit_all(layer, group, fd[1]);
	}
	close(fd[1]);
	for (int i = 0; i < after_acks && read(fd[0], &n, sizeof n) == sizeof n; i++)
		acked[n] = true;
	if (after_us >= 0) {
		/* Not a wait for a state: the moment is meant to be arbitrary. */
		usleep((useconds_t)after_us);
		kill(pid, SIGKILL);
	}
	while (read(fd[0], &n, sizeof n) == sizeof n)
		acked[n] = true;
	close(fd[0]);
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

/* Open what is left and compare; the number of faults. *present: whole blocks. They are
 * made in order, so looking a little beyond the last one is enough. */
static int
count_faults(uint32_t layer, const bool *acked, int *present)
{
	struct fg_store *s = st_open_with(FG_STORE_WRITE, &small);
	struct fg_reader *rd = st_reader(s);
	struct fg_layer_row *rows;
	struct fg_err err = FG_ERR_INIT;
	size_t layers;
	int faults = 0;

	*present = 0;
	if (fg_store_layers(rd, &rows, &layers, &err) < 0)
		return 1;
	for (size_t i = 0; i < layers; i++) {
		faults += rows[i].degraded;
		fg_layer_row_fini(&rows[i]);
	}
	free(rows);
	for (int n = 0; n < ST_BLOCKS && n < *present + 20; n++) {
		int k = st_check_block_n(s, rd, layer, n, 0);

		faults += k < 0;
		*present += k == 1;
		if (acked[n] && k != 1) {
			printf("# block %d was acknowledged and is lost\n", n);
			faults++;
		}
	}
	for (int n = *present + 20; n < ST_BLOCKS; n++)
		faults += acked[n];
	fg_reader_close(rd);
	fg_store_close(s);
	faults += st_verify(st_root) != 0;
	return faults;
}

static uint32_t
make_store(void)
{
	struct fg_store *s;
	uint32_t layer;

	st_folder();
	s = st_open_with(FG_STORE_CREATE, &small);
	layer = st_add_layer(s, "seg");
	fg_store_close(s);
	return layer;
}

static void
test_points(void)
{
	static const char *const point[] = {"slab-append", "slab-half", "slab-written",
	    "slab-synced", "dir-synced", "txn-begun", "txn-half", "txn-before-commit",
	    "committed"};
	static const int times[] = {1, 2, 5};

	for (size_t i = 0; i < FG_COUNTOF(point); i++) {
		uint32_t layer = make_store();
		bool acked[ST_BLOCKS] = {0};
		int before = 0, present, sig, faults;

		for (size_t t = 0; t < FG_COUNTOF(times); t++) {
			int group = 1 + (int)t;
			char text[64];

			snprintf(text, sizeof text, "%s:%d", point[i], times[t]);
			sig = run_child(layer, group, text, 0, -1, acked);
			tap_int(sig, SIGKILL, "killed at %s", text);
			faults = count_faults(layer, acked, &present);
			tap_int(faults, 0, "nothing is lost or wrong after %s", text);
			/* Whole records that nobody had indexed yet are kept: they are
			 * on the disk. */
			if (i >= 2)
				tap_ok(present >= before + times[t],
				    "what was written is taken in (%d blocks)",
				    present);
			before = present;
		}
		st_cleanup();
	}
}

static void
test_random(void)
{
	uint32_t layer = make_store();
	bool acked[ST_BLOCKS] = {0};
	int faults = 0, present = 0, killed = 0, acks = 0;

	srand(20261121);
	for (int i = 0; i < 50; i++) {
		int sig = run_child(layer, 1 + rand() % 4, NULL, rand() % 6,
		    rand() % 8000, acked);

		killed += sig == SIGKILL;
		faults += count_faults(layer, acked, &present);
	}
	for (int n = 0; n < ST_BLOCKS; n++)
		acks += acked[n];
	printf("# %d kills, %d blocks acknowledged, %d there\n", killed, acks, present);
	tap_int(faults, 0, "50 random kills: nothing is lost, wrong or half there");
	tap_ok(killed >= 45, "the writer was killed while it worked");
	tap_ok(acks >= 20 && present >= acks, "and it had got something done");
	st_cleanup();
}

/* Creating a store, adding and removing layers are interrupted as well. */
static void
test_layers(void)
{
	for (int i = 0; i < 30; i++) {
		struct fg_err err = FG_ERR_INIT;
		struct fg_layer_row *rows = NULL;
		struct fg_reader *rd;
		struct fg_store *s;
		size_t n = 0;
		int status;
		pid_t pid;

		st_folder();
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			s = st_open_with(FG_STORE_CREATE, &small);
			for (;;) {
				uint32_t layer = st_add_layer(s, "a");

				if (!layer || fg_store_layer_remove(s, layer, &err) < 0)
					_exit(1);
			}
		}
		usleep((useconds_t)(i * 700));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		s = fg_store_open(st_root, FG_STORE_CREATE, &small, &err);
		rd = s ? fg_reader_open(s, &err) : NULL;
		if (!rd || fg_store_layers(rd, &rows, &n, &err) < 0 || n > 1 ||
		    st_verify(st_root) != 0)
			tap_ok(false, "round %d: %zu layers: %s", i, n, err.msg);
		for (size_t k = 0; k < n; k++)
			fg_layer_row_fini(&rows[k]);
		free(rows);
		fg_reader_close(rd);
		fg_store_close(s);
		st_cleanup();
	}
	tap_ok(true, "layers come and go whole");
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	unsetenv("FG_CRASH_AT");
	test_points();
	test_random();
	test_layers();
	return tap_done();
}
