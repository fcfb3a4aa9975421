/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Series of sections. A folder becomes a table z -> file name; a hole is a NULL in it.
 * Names are compared as runs of text and runs of digits: all texts must be equal, and
 * exactly one run of digits may differ between files. That one is the section number.
 * Anything else ("tile1_007.png" beside "tile2_007.png") has no order we could trust,
 * and is refused rather than guessed.
 */
#include "config.h"

#include "formats/series.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "formats/section.h"

#define DIGITS_MAX 18

/* ------------------------------------------------------------- names in order */

struct name {
	char *text;
	int64_t number;
};

struct names {
	struct name *v;
	size_t n, cap;
};

static void
names_fini(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].text);
	free(l->v);
}

/* The run of digits number `which` of s, leading zeros skipped; false if it is longer
 * than a section number can be. */
static bool
digits_at(const char *s, int which, int64_t *out)
{
	for (;; s++) {
		if (!isdigit((unsigned char)*s))
			continue;
		if (which-- == 0)
			break;
		while (isdigit((unsigned char)s[1]))
			s++;
	}
	while (*s == '0')
		s++;
	int n = 0;
	int64_t v = 0;
	for (; isdigit((unsigned char)*s); s++, n++)
		v = n < DIGITS_MAX ? v * 10 + (*s - '0') : v;
	*out = v;
	return n <= DIGITS_MAX;
}

/* Compare two names run by run. False if their texts differ; else bit i of *differ is
 * set for each run of digits i that has another value. */
static bool
same_series(const char *a, const char *b, uint64_t *differ)
{
	int run = 0;

	while (*a && *b) {
		if (!isdigit((unsigned char)*a) || !isdigit((unsigned char)*b)) {
			if (*a++ != *b++)
				return false;
			continue;
		}
		while (*a == '0')
			a++;
		while (*b == '0')
			b++;
		size_t na = strspn(a, "0123456789"), nb = strspn(b, "0123456789");
		if ((na != nb || memcmp(a, b, na) != 0) && run < 64)
			*differ |= UINT64_C(1) << run;
		a += na;
		b += nb;
		run++;
	}
	return !*a && !*b;
}

static int
by_number(const void *pa, const void *pb)
{
	const struct name *a = pa, *b = pb;

	if (a->number != b->number)
		return a->number < b->number ? -1 : 1;
	return strcmp(a->text, b->text);
}

/* Give each name its number; whether two have the same one is seen later. */
static int
number_names(const char *const *name, size_t n, int64_t *number, struct fg_err *err)
{
	uint64_t differ = 0;
	int run = 0;

	for (size_t i = 1; i < n; i++) {
		if (!same_series(name[0], name[i], &differ))
			return fg_fail(err, FG_EINVAL,
			    "%s and %s are not of one series: names may differ in one "
			    "number only",
			    name[0], name[i]);
	}
	number[0] = 0;
	if (n == 1)
		return 0;
	if (differ == 0)
		return fg_fail(err, FG_EINVAL, "%s and %s have the same number",
		    name[0], name[1]);
	if (differ & (differ - 1))
		return fg_fail(err, FG_EINVAL,
		    "file names like %s differ in more than one number: which one "
		    "counts the sections cannot be told",
		    name[0]);
	while (!(differ >> run & 1))
		run++;
	for (size_t i = 0; i < n; i++) {
		if (!digits_at(name[i], run, &number[i]))
			return fg_fail(err, FG_EINVAL,
			    "%s: the section number has more than %d digits", name[i],
			    DIGITS_MAX);
	}
	return 0;
}

int
fg_series_order(const char *const *name, size_t n, int64_t *number, struct fg_err *err)
{
	struct name *v;
	int rc = 0;

	if (number_names(name, n, number, err) < 0)
		return -1;
	v = fg_alloc(n * sizeof *v);
	for (size_t i = 0; i < n; i++)
		v[i] = (struct name){(char *)(uintptr_t)name[i], number[i]};
	qsort(v, n, sizeof *v, by_number);
	for (size_t i = 1; i < n && rc == 0; i++) {
		if (v[i].number == v[i - 1].number)
			rc = fg_fail(err, FG_EINVAL, "%s and %s have the same number",
			    v[i - 1].text, v[i].text);
	}
	free(v);
	return rc;
}

/* Number the names and sort by that. */
static int
order_names(struct names *l, struct fg_err *err)
{
	const char **text = fg_alloc(l->n * sizeof *text);
	int64_t *number = fg_alloc(l->n * sizeof *number);
	int rc;

	for (size_t i = 0; i < l->n; i++)
		text[i] = l->v[i].text;
	rc = fg_series_order(text, l->n, number, err);
	for (size_t i = 0; i < l->n && rc == 0; i++)
		l->v[i].number = number[i];
	if (rc == 0)
		qsort(l->v, l->n, sizeof *l->v, by_number);
	free(text);
	free(number);
	return rc;
}

static int
list_folder(const char *dir, struct names *l, struct fg_err *err)
{
	const char *kind = NULL;
	DIR *d = opendir(dir);
	bool info = false;

	if (!d)
		return fg_fail_errno(err, "%s", dir);
	for (struct dirent *e; errno = 0, (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		const char *k = fg_section_kind(e->d_name);

		info = info || strcmp(e->d_name, "info") == 0;
		if (!k)
			continue;
		if (kind && strcmp(k, kind) != 0) {
			fg_fail(err, FG_EINVAL,
			    "%s: %s is %s and %s is %s: a stack is of one kind", dir,
			    l->v[0].text, kind, e->d_name, k);
			closedir(d);
			return -1;
		}
		kind = k;
		if (l->n == l->cap) {
			l->cap = l->cap ? l->cap * 2 : 256;
			l->v = fg_realloc(l->v, l->cap, sizeof *l->v);
		}
		l->v[l->n++] = (struct name){.text = fg_strdup(e->d_name)};
	}
	if (errno) { /* not the end: what is missing would look like no section */
		fg_fail_errno(err, "%s", dir);
		closedir(d);
		return -1;
	}
	closedir(d);
	if (l->n > 0)
		return 0;
	if (info)
		return fg_fail(err, FG_EINVAL,
		    "%s holds an info file and no images: a precomputed volume needs "
		    "no import, `floodgate layer add NAME DIR` serves it in place",
		    dir);
	return fg_fail(err, FG_ENOENT, "%s: no .png, .jpg or .tif files in it", dir);
}

/* From sorted names to the table z -> file. */
static int
lay_out(struct fg_series *s, struct names *l, struct fg_err *err)
{
	int64_t first = l->v[0].number, last = l->v[l->n - 1].number;
	int64_t all = last - first + 1;
	size_t i = 1;

	while (i < l->n && l->v[i].number == l->v[i - 1].number + 1)
		i++;
	if (i < l->n)
		s->gap = fg_asprintf("%lld of %lld sections are missing, the first "
				     "%lld between %s and %s",
		    (long long)(all - (int64_t)l->n), (long long)all,
		    (long long)(l->v[i].number - l->v[i - 1].number - 1),
		    l->v[i - 1].text, l->v[i].text);
	if (all > FG_SERIES_MAX)
		return fg_fail(err, FG_EINVAL,
		    "numbers from %s to %s make %lld sections, at most %d are read",
		    l->v[0].text, l->v[l->n - 1].text, (long long)all, FG_SERIES_MAX);
	s->file = fg_calloc((size_t)all, sizeof *s->file);
	s->shape[2] = all;
	s->holes = all - (int64_t)l->n;
	for (i = 0; i < l->n; i++) {
		s->file[l->v[i].number - first] = l->v[i].text;
		l->v[i].text = NULL;
	}
	return 0;
}

/* ------------------------------------------------------------- files of sections */

static const char *
first_name(const struct fg_series *s)
{
	return s->file[0]; /* a series begins and ends with a file, never a hole */
}

static int
check_like_first(const struct fg_series *s, const char *name, const int64_t size[4],
    enum fg_dtype t, struct fg_err *err)
{
	if (size[0] != s->shape[0] || size[1] != s->shape[1])
		return fg_fail(err, FG_EINVAL,
		    "%s: %lld x %lld pixels, wanted %lld x %lld as in %s", name,
		    (long long)size[0], (long long)size[1], (long long)s->shape[0],
		    (long long)s->shape[1], first_name(s));
	if (t != s->dtype)
		return fg_fail(err, FG_EINVAL,
		    "%s: %zu bits a pixel, wanted %zu as in %s", name,
		    8 * fg_dtype_size(t), 8 * fg_dtype_size(s->dtype), first_name(s));
	if (size[3] != s->shape[3])
		return fg_fail(err, FG_EINVAL,
		    "%s: %lld channels, wanted %lld as in %s", name, (long long)size[3],
		    (long long)s->shape[3], first_name(s));
	return 0;
}

/* What a section's file is blamed for begins with its name, not with the path. */
static int
blame(const struct fg_series *s, int64_t z, const char *path, const struct fg_err *why,
    struct fg_err *err)
{
	const char *text = why->msg;

	if (strncmp(text, path, strlen(path)) == 0) {
		text += strlen(path);
		text += strspn(text, ": ");
	}
	return fg_fail(err, why->code, "%s: %s", s->file[z], text);
}

static int
probe(const struct fg_series *s, int64_t z, int64_t shape[4], enum fg_dtype *t,
    struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", s->dir, s->file[z]);
	struct fg_err why = FG_ERR_INIT;
	int rc = fg_section_probe(path, shape, t, &why);

	if (rc < 0)
		blame(s, z, path, &why, err);
	free(path);
	return rc;
}

int
fg_series_check(const struct fg_series *s, int64_t z, struct fg_err *err)
{
	int64_t size[4];
	enum fg_dtype t;

	fg_assert(z >= 0 && z < s->shape[2]);
	if (!s->file[z])
		return 0;
	if (probe(s, z, size, &t, err) < 0)
		return -1;
	return check_like_first(s, s->file[z], size, t, err);
}

int
fg_series_read(const struct fg_series *s, int64_t z, const struct fg_box *part,
    struct fg_array *out, struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", s->dir, s->file[z]);
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_err why = FG_ERR_INIT;
	int64_t whole[4];
	int rc = fg_section_read(path, part, whole, &a, &why);

	if (rc < 0)
		blame(s, z, path, &why, err);
	else /* the file may have changed since it was probed */
		rc = check_like_first(s, s->file[z], whole, a.dtype, err);
	if (rc == 0)
		*out = a;
	else
		fg_array_fini(&a);
	free(path);
	return rc;
}

int
fg_series_piece(const struct fg_series *s, int64_t piece[2], struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", s->dir, s->file[0]);
	struct fg_err why = FG_ERR_INIT;
	int rc = fg_section_piece(path, piece, &why);

	if (rc < 0)
		blame(s, 0, path, &why, err);
	free(path);
	return rc;
}

bool
fg_series_is_folder(const char *dir)
{
	DIR *d = opendir(dir);
	bool images = false, info = false;

	if (!d)
		return false;
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		images = images || fg_section_kind(e->d_name);
		info = info || strcmp(e->d_name, "info") == 0 ||
		       strcmp(e->d_name, "info.gz") == 0;
	}
	closedir(d);
	return images && !info;
}

int
fg_series_open(struct fg_series *s, const char *dir, struct fg_err *err)
{
	struct names l = {0};
	int64_t shape[4];
	int rc = -1;

	*s = (struct fg_series){.dir = fg_strdup(dir)};
	if (list_folder(dir, &l, err) < 0 || order_names(&l, err) < 0 ||
	    lay_out(s, &l, err) < 0)
		goto out;
	if (probe(s, 0, shape, &s->dtype, err) < 0)
		goto out;
	shape[2] = s->shape[2];
	memcpy(s->shape, shape, sizeof s->shape);
	if (s->shape[0] > FG_SECTION_EDGE_MAX || s->shape[1] > FG_SECTION_EDGE_MAX) {
		fg_fail(err, FG_ENOTSUP,
		    "%s: %lld x %lld pixels, at most %d a side are read", first_name(s),
		    (long long)s->shape[0], (long long)s->shape[1],
		    FG_SECTION_EDGE_MAX);
		goto out;
	}
	rc = 0;
out:
	names_fini(&l);
	if (rc < 0)
		fg_series_close(s);
	return rc;
}

void
fg_series_close(struct fg_series *s)
{
	for (int64_t z = 0; s->file && z < s->shape[2]; z++)
		free(s->file[z]);
	free(s->file);
	free(s->gap);
	free(s->dir);
	*s = (struct fg_series){0};
}
