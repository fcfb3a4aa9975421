/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A main for fuzz targets in builds without libFuzzer, so that `make check` runs them.
 *
 *   fuzz_X          every file of $srcdir/tests/fuzz/corpus/X/ as it is and then in
 *                   MUTATIONS changed forms, the same ones each time
 *   fuzz_X FILE...  those files as they are (to look at a finding)
 *
 * A target fails by crashing, aborting or being reported by a sanitizer. Each input is
 * copied to memory of exactly its size, so that reading beyond it is noticed.
 */
#include "config.h"

#include <dirent.h>
#include <stdlib.h>

#include "base/file.h"
#include "tests/tap.h"

#define MUTATIONS 2000
#define INPUT_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static uint64_t state = 0x9e3779b97f4a7c15;

static size_t
roll(size_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return below ? state % below : 0;
}

static void
run(const uint8_t *p, size_t n)
{
	uint8_t *exact = malloc(n + !n);

	fg_assert(exact != NULL);
	if (n > 0)
		memcpy(exact, p, n);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
}

/* Change p[0..*n) in one way; there is room for twice as much. */
static void
mutate(uint8_t *p, size_t *n)
{
	static const uint32_t odd[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff,
	    0x7fffffff, 0x80000000, 0xffffffff};
	size_t at = roll(*n), len;
	uint32_t v = odd[roll(FG_COUNTOF(odd))];

	if (*n == 0)
		return;
	switch (roll(7)) {
	case 0:
		p[at] ^= (uint8_t)(1u << roll(8));
		break;
	case 1:
		p[at] = (uint8_t)roll(256);
		break;
	case 2:
		memcpy(p + at, &v, FG_MIN(*n - at, 4u));
		break;
	case 3:
		p[at] = (uint8_t)(p[at] + roll(9) - 4);
		break;
	case 4: /* cut */
		*n = at;
		break;
	case 5: /* take a piece out */
		len = roll(FG_MIN(*n - at, 32u)) + 1;
		memmove(p + at, p + at + len, *n - at - len);
		*n -= len;
		break;
	case 6: /* repeat a piece */
		len = roll(FG_MIN(*n - at, 32u)) + 1;
		memmove(p + at + len, p + at, *n - at);
		*n += len;
		break;
	}
}

static void
run_file(const char *path, const char *name, int mutations)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = fg_file_read(path, INPUT_MAX, &err);
	uint8_t *p;

	if (!tap_rc(b ? 0 : -1, &err, name))
		return;
	run(b->data, b->len);
	p = malloc(b->len + 9 * 32);
	fg_assert(p != NULL);
	for (int i = 0; i < mutations; i++) {
		size_t n = b->len;

		if (n > 0)
			memcpy(p, b->data, n);
		for (size_t k = roll(8) + 1; k > 0; k--)
			mutate(p, &n);
		run(p, n);
	}
	free(p);
	fg_buf_unref(b);
}

static void
run_corpus(const char *target)
{
	const char *top = getenv("srcdir");
	char dir[1024], path[2048];
	struct dirent **names;
	int n, files = 0;

	snprintf(dir, sizeof dir, "%s/tests/fuzz/corpus/%s", top ? top : ".", target);
	n = scandir(dir, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
			run_file(path, names[i]->d_name, MUTATIONS);
			files++;
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	tap_ok(files > 0, "%d files in %s", files, dir);
}

int
main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');

	name = name ? name + 1 : argv[0];
	if (strncmp(name, "fuzz_", 5) == 0)
		name += 5;
	if (argc == 1)
		run_corpus(name);
	for (int i = 1; i < argc; i++)
		run_file(argv[i], argv[i], 0);
	return tap_done();
}
