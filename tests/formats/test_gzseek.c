/* SPDX-License-Identifier: Apache-2.0 */
/* Reading anywhere in gzip files: forwards, backwards, over members, and broken ones.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "formats/codec.h"
#include "formats/gzseek.h"
#include "tests/tap.h"

#define SIZE ((size_t)12 << 20)

/* Neither constant nor noise: what is far apart repeats, so that windows count. */
static uint8_t *
make_bytes(void)
{
	uint8_t *p = malloc(SIZE);
	uint64_t state = 1;

	fg_assert(p != NULL);
	for (size_t i = 0; i < SIZE; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		p[i] = i >= 30000 && (state >> 60) < 12 ? p[i - 30000]
							: (uint8_t)(state >> 40);
	}
	return p;
}

/* Two members, the second begins at 5 MiB. */
static FILE *
make_file(const uint8_t *p, size_t cut)
{
	static const size_t at[] = {0, (size_t)5 << 20, SIZE};
	FILE *f = tmpfile();
	size_t n = 0;

	fg_assert(f != NULL);
	for (int i = 0; i < 2; i++) {
		struct fg_buf *b;

		fg_assert(fg_compress(FG_CODING_GZIP, 6, p + at[i], at[i + 1] - at[i],
			      &b, NULL) == 0);
		fg_assert(fwrite(b->data, 1, b->len, f) == b->len);
		n += b->len;
		fg_buf_unref(b);
	}
	fflush(f);
	fg_assert(ftruncate(fileno(f), (off_t)(n - cut)) == 0);
	return f;
}

static bool
read_right(struct fg_gzseek *g, const uint8_t *p, uint64_t off, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	uint8_t *q = malloc(n + 1);
	bool ok;

	fg_assert(q != NULL);
	ok = fg_gzseek_read(g, off, q, n, &err) == 0 && memcmp(p + off, q, n) == 0;
	if (!ok)
		printf("# %llu + %zu: %s\n", (unsigned long long)off, n, err.msg);
	free(q);
	return ok;
}

static void
good(const uint8_t *p)
{
	FILE *f = make_file(p, 0);
	struct fg_err err = FG_ERR_INIT;
	struct fg_gzseek *g = fg_gzseek_open(fileno(f), SIZE, &err);
	uint64_t state = 7;
	int right = 0;

	tap_ok(g != NULL, "opens %s", err.msg);
	tap_ok(read_right(g, p, 100, 50) && read_right(g, p, 150, 50), "forwards");
	tap_ok(read_right(g, p, 0, 10), "back to the begin");
	tap_ok(read_right(g, p, 0, SIZE), "all of it");
	tap_ok(read_right(g, p, SIZE - 5, 5), "its last bytes");
	tap_ok(read_right(g, p, ((size_t)5 << 20) - 3, 7),
	    "over the border of members");
	for (int i = 0; i < 60; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		size_t n = (size_t)(state >> 44) % 70000 + 1;

		right += read_right(g, p, (state >> 20) % (SIZE - n), n);
	}
	tap_int(right, 60, "parts in any order");
	tap_fails(fg_gzseek_read(g, SIZE - 1, (uint8_t[2]){0}, 2, &err), &err,
	    FG_ECORRUPT, "ends after 12582912 bytes", "beyond its end");
	tap_ok(read_right(g, p, 5, 5), "and it goes on");
	fg_gzseek_close(g);
	fclose(f);
}

static void
broken(const uint8_t *p)
{
	struct fg_err err = FG_ERR_INIT;
	FILE *f = make_file(p, 1000);
	struct fg_gzseek *g = fg_gzseek_open(fileno(f), SIZE, &err);
	uint8_t *q = malloc(SIZE);

	fg_assert(q && g);
	tap_fails(fg_gzseek_read(g, 0, q, SIZE, &err), &err, FG_ECORRUPT, "ends after",
	    "cut off");
	tap_ok(read_right(g, p, 1 << 20, 100), "what is there can be read");
	fg_gzseek_close(g);
	fg_assert(
	    pwrite(fileno(f), "\xff\xff\xff\xff\xff\xff\xff\xff", 8, 100000) == 8);
	g = fg_gzseek_open(fileno(f), SIZE, &err);
	tap_ok(g && fg_gzseek_read(g, 0, q, SIZE, &err) < 0 && err.code == FG_ECORRUPT,
	    "damaged: %s", err.msg);
	fg_gzseek_close(g);
	fg_assert(pwrite(fileno(f), "x", 1, 0) == 1);
	fg_err_clear(&err);
	tap_fails(fg_gzseek_open(fileno(f), SIZE, &err) ? 0 : -1, &err, FG_ECORRUPT,
	    "no gzip file", "another file");
	free(q);
	fclose(f);
}

int
main(void)
{
	uint8_t *p = make_bytes();

	good(p);
	broken(p);
	free(p);
	return tap_done();
}
