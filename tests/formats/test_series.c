/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders of sections: what is in them and is no image, and a folder that cannot be
 * read to its end. readdir here stands before that of the C library and fails when told
 * to.
 */
#include "config.h"

#include "formats/series.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "formats/codec.h"
#include "formats/foreign.h"
#include "tests/tap.h"

static char top[64];
static int entries_left = -1; /* entries until reading fails; < 0: it does not */

struct dirent *
readdir(DIR *d)
{
	static struct dirent *(*real)(DIR *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "readdir");
	if (entries_left == 0) {
		errno = EIO;
		return NULL;
	}
	entries_left -= entries_left > 0;
	return real(d);
}

static char *
in_top(const char *name)
{
	return fg_asprintf("%s/%s", top, name);
}

static void
put_png(const char *name)
{
	struct fg_scale s = {.encoding = FG_ENC_PNG,
	    .png_level = -1,
	    .jpeg_quality = -1};
	char *path = in_top(name);
	struct fg_array a;
	struct fg_buf *b;

	fg_assert(
	    fg_array_init_zero(&a, FG_U8, (int64_t[4]){20, 10, 1, 1}, NULL) == 0 &&
	    fg_codec_encode(&s, &a, &b, NULL) == 0 &&
	    fg_file_write_fast(path, b->data, b->len, NULL) == 0);
	fg_array_fini(&a);
	fg_buf_unref(b);
	free(path);
}

/* Opening the folder as a stack must fail, and at once. */
static void
refuse(const char *dir, const char *part, const char *what)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_foreign *f = fg_foreign_open("stack", dir, NULL, &err);

	tap_ok(!f && err.code != FG_OK && strstr(err.msg, part), "%s: %s", what,
	    err.msg);
	fg_foreign_close(f);
}

/* A pipe without a writer: opening it to read would wait for ever. */
static void
pipes(void)
{
	static const char *const first[] = {"s1.tif", "t1.png", "u1.jpg"};

	for (size_t i = 0; i < FG_COUNTOF(first); i++) {
		char *path = in_top(first[i]);

		fg_assert(mkfifo(path, 0600) == 0);
		refuse(top, first[i], "a pipe is no section");
		unlink(path);
		free(path);
	}
	put_png("a1.png");
	char *path = in_top("a2.png");
	fg_assert(mkfifo(path, 0600) == 0);
	refuse(top, "a2.png", "nor behind one that is");
	unlink(path);
	fg_assert(mkdir(path, 0700) == 0);
	refuse(top, "a2.png", "nor is a folder");
	rmdir(path);
	fg_assert(symlink("nowhere.png", path) == 0);
	refuse(top, "a2.png", "nor a link to nothing");
	unlink(path);
	free(path);
}

/* With a1 to a4 there: three would be a volume of three. */
static void
unreadable(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_series s;
	char name[32];

	for (int i = 2; i <= 4; i++) {
		snprintf(name, sizeof name, "a%d.png", i);
		put_png(name);
	}
	for (int n = 0; n < 6; n++) {
		entries_left = n; /* of six: . and .. as well */
		tap_fails(fg_series_open(&s, top, &err), &err, FG_EIO, top,
		    "the folder ends in an error");
		err = FG_ERR_INIT;
	}
	entries_left = -1;
	if (tap_rc(fg_series_open(&s, top, &err), &err, "read to its end")) {
		tap_int((long)s.shape[2], 4, "it has four sections");
		fg_series_close(&s);
	}
}

int
main(void)
{
	snprintf(top, sizeof top, "/tmp/fg-series-%d", (int)getpid());
	fg_assert(mkdir(top, 0700) == 0);
	pipes();
	unreadable();
	for (int i = 1; i <= 4; i++) {
		char path[96];

		snprintf(path, sizeof path, "%s/a%d.png", top, i);
		unlink(path);
	}
	rmdir(top);
	return tap_done();
}
