/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of work/ share: a data directory in a temporary folder. */
#ifndef FG_TESTS_WORK_TEST_H
#define FG_TESTS_WORK_TEST_H

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/store.h"
#include "tests/tap.h"

static inline int
wt_remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

/* A new empty folder below $TMPDIR or /tmp; the caller removes it with wt_remove. */
static inline char *
wt_folder(void)
{
	const char *tmp = getenv("TMPDIR");
	char *path =
	    fg_asprintf("%s/floodgate-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");

	if (!mkdtemp(path)) {
		perror(path);
		exit(1);
	}
	return path;
}

static inline void
wt_remove(char *path)
{
	nftw(path, wt_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(path);
}

/* A store in `root`; the test ends when it cannot be opened. */
static inline struct fg_store *
wt_store_free(const char *root, double min_free)
{
	struct fg_store_options opt = {.min_free = min_free};
	struct fg_err err = FG_ERR_INIT;
	struct fg_store *s = fg_store_open(root, FG_STORE_CREATE, &opt, &err);

	if (!s) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	return s;
}

/* The same where a rather full disk does not matter. */
static inline struct fg_store *
wt_store(const char *root)
{
	return wt_store_free(root, 1e-4);
}

#endif
