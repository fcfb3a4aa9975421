/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of an export: see the header. */
#include "config.h"

#include "work/export_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define JOURNAL ".floodgate-export"
#define MARK_NS (10 * FG_NS_PER_S)

struct fg_export_log {
	char *dest, *path;
	FILE *f;
	int64_t marked_ns;
};

void
fg_export_log_close(struct fg_export_log *l)
{
	if (!l)
		return;
	if (l->f)
		fclose(l->f);
	free(l->dest);
	free(l->path);
	free(l);
}

/* ------------------------------------------------------------- opening */

/* Whether a folder has anything in it beside the journal; -1 with errno. */
static int
has_others(const char *dest)
{
	DIR *d = opendir(dest);
	struct dirent *e;
	int yes = 0;

	if (!d)
		return -1;
	while (!yes && (e = readdir(d)) != NULL)
		yes = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		      strcmp(e->d_name, JOURNAL) != 0;
	closedir(d);
	return yes;
}

static int
write_failed(const struct fg_export_log *l, struct fg_err *err)
{
	return fg_fail_errno(err, "%s", l->path);
}

static int
begin(struct fg_export_log *l, const char *what, int64_t epoch, struct fg_err *err)
{
	int others = has_others(l->dest);

	if (others < 0)
		return fg_fail_errno(err, "%s", l->dest);
	if (others)
		return fg_fail(err, FG_EINVAL,
		    "%s is not empty: an export goes to a new or an empty folder",
		    l->dest);
	if (fprintf(l->f, "%s\n# %" PRId64 "\n", what, epoch) < 0 ||
	    fflush(l->f) != 0 || fsync(fileno(l->f)) < 0)
		return write_failed(l, err);
	return fg_file_sync_dir(l->dest, err);
}

static bool
parse_mark(const char *line, struct fg_export_mark *m)
{
	int end = 0;

	return sscanf(line,
		   "@ %d %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " .\n%n",
		   &m->scale, &m->next, &m->chunks, &m->missing, &m->files, &m->bytes,
		   &end) == 6 &&
	       end > 0 && line[end] == '\0';
}

/* Cut everything off behind the first line and begin anew. told: whether the line that
 * follows it says an epoch. */
static int
begin_again(struct fg_export_log *l, long first, bool told, int64_t epoch,
    struct fg_export_mark *mark, struct fg_err *err)
{
	if (ftruncate(fileno(l->f), first) < 0 || fseek(l->f, first, SEEK_SET) < 0 ||
	    fprintf(l->f, "# %" PRId64 "\n", epoch) < 0 || fflush(l->f) != 0 ||
	    fsync(fileno(l->f)) < 0)
		return write_failed(l, err);
	*mark =
	    (struct fg_export_mark){.resumed = true, .changed = told, .unknown = !told};
	return 0;
}

/* Find the last mark and cut off what follows it. */
static int
go_on(struct fg_export_log *l, const char *what, int64_t epoch,
    struct fg_export_mark *mark, struct fg_err *err)
{
	char *line = NULL;
	size_t room = 0, n = strlen(what);
	ssize_t len = getline(&line, &room, l->f);
	long first = len, keep;
	int64_t then = 0;
	bool told;
	int rc = -1;

	if (len < 1 || (size_t)len != n + 1 || memcmp(line, what, n) != 0) {
		fg_fail(err, FG_EINVAL,
		    "%s holds an unfinished export of another kind (other layer or "
		    "options): finish that, remove the folder, or choose another",
		    l->dest);
		goto out;
	}
	told =
	    getline(&line, &room, l->f) > 0 && sscanf(line, "# %" SCNd64, &then) == 1;
	/* An epoch never falls: what is 1 now was 1 when an earlier version began. */
	if (!told && epoch <= 1) {
		if (fseek(l->f, first, SEEK_SET) != 0) {
			write_failed(l, err);
			goto out;
		}
	} else if (!told || then != epoch) {
		rc = begin_again(l, first, told, epoch, mark, err);
		goto out;
	}
	keep = ftell(l->f);
	while ((len = getline(&line, &room, l->f)) > 0) {
		struct fg_export_mark m = {0};

		if (line[0] == '@' && parse_mark(line, &m)) {
			m.resumed = true;
			*mark = m;
			keep = ftell(l->f);
		}
	}
	if (ferror(l->f) || ftruncate(fileno(l->f), keep) < 0 ||
	    fseek(l->f, keep, SEEK_SET) < 0)
		write_failed(l, err);
	else
		rc = 0;
out:
	free(line);
	return rc;
}

struct fg_export_log *
fg_export_log_open(const char *dest, const char *what, int64_t epoch,
    struct fg_export_mark *mark, struct fg_err *err)
{
	struct fg_export_log *l = fg_calloc(1, sizeof *l);
	struct stat st;
	int fd = -1;

	*mark = (struct fg_export_mark){0};
	l->dest = fg_strdup(dest);
	l->path = fg_asprintf("%s/%s", dest, JOURNAL);
	l->marked_ns = fg_clock_ns();
	if (fg_file_mkdirs(dest, err) < 0)
		goto fail;
	fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (fd < 0 || fstat(fd, &st) < 0) {
		write_failed(l, err);
		goto fail;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		fg_fail(err, FG_EBUSY, "another export to %s is running", dest);
		goto fail;
	}
	l->f = fdopen(fd, "r+");
	fg_assert(l->f);
	fd = -1;
	mark->resumed = st.st_size > 0;
	if (st.st_size == 0 ? begin(l, what, epoch, err) < 0
			    : go_on(l, what, epoch, mark, err) < 0) {
		if (st.st_size == 0)
			unlink(l->path);
		goto fail;
	}
	return l;
fail:
	if (fd >= 0)
		close(fd);
	fg_export_log_close(l);
	return NULL;
}

/* NAME.tmp-XXXXXX, as fg_file_write and the shard writer name what they begin. */
static bool
is_temporary(const char *name)
{
	size_t n = strlen(name);

	return n > 11 && memcmp(name + n - 11, ".tmp-", 5) == 0;
}

/* Remove the files of a folder, only those with such names if is_one is not NULL. */
static int
remove_files(const char *dir, bool (*is_one)(const char *name), struct fg_err *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return errno == ENOENT ? 0 : fg_fail_errno(err, "%s", dir);
	while (rc == 0 && (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    (is_one && !is_one(e->d_name)))
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) < 0)
			rc = fg_fail_errno(err, "%s/%s", dir, e->d_name);
	}
	closedir(d);
	return rc;
}

int
fg_export_log_sweep(const char *dir, struct fg_err *err)
{
	return remove_files(dir, is_temporary, err);
}

int
fg_export_log_empty(const char *dir, struct fg_err *err)
{
	return remove_files(dir, NULL, err);
}

/* ------------------------------------------------------------- writing */

int
fg_export_log_file(struct fg_export_log *l, const char *name,
    const char sha[FG_SHA256_HEX], struct fg_err *err)
{
	if (fprintf(l->f, "%s  %s\n", sha, name) < 0)
		return write_failed(l, err);
	return 0;
}

/* A shard is read again, for its head is written last. */
int
fg_export_log_read(struct fg_export_log *l, const char *name, struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", l->dest, name), sha[FG_SHA256_HEX];
	struct fg_sha256 *s = fg_sha256_begin();
	uint8_t sum[FG_SHA256_SIZE], *buf = fg_alloc(1 << 20);
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -1 : 0;
	ssize_t n = 1;

	while (rc == 0 && n != 0) {
		n = read(fd, buf, 1 << 20);
		if (n > 0)
			fg_sha256_add(s, buf, (size_t)n);
		else if (n < 0 && errno != EINTR)
			rc = -1;
	}
	if (rc < 0)
		fg_fail_errno(err, "%s", path);
	if (fd >= 0)
		close(fd);
	free(buf);
	free(path);
	fg_sha256_end(s, sum);
	fg_hex_format(sum, sizeof sum, sha);
	return rc < 0 ? -1 : fg_export_log_file(l, name, sha, err);
}

int
fg_export_log_write(struct fg_export_log *l, const char *name, const struct fg_buf *b,
    struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", l->dest, name), sha[FG_SHA256_HEX];
	uint8_t sum[FG_SHA256_SIZE];
	int rc = fg_file_write_fast(path, b->data, b->len, err);

	free(path);
	if (rc < 0)
		return -1;
	fg_sha256(b->data, b->len, sum);
	fg_hex_format(sum, sizeof sum, sha);
	return fg_export_log_file(l, name, sha, err);
}

int
fg_export_log_mark(struct fg_export_log *l, const struct fg_export_mark *m, bool now,
    struct fg_err *err)
{
	int64_t t = fg_clock_ns();

	if (!now && t - l->marked_ns < MARK_NS)
		return 0;
	/* A mark must not be on the disk before the files that it vouches for. */
	if (fflush(l->f) != 0 || syncfs(fileno(l->f)) < 0)
		return write_failed(l, err);
	if (fprintf(l->f,
		"@ %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " .\n",
		m->scale, m->next, m->chunks, m->missing, m->files, m->bytes) < 0 ||
	    fflush(l->f) != 0)
		return write_failed(l, err);
	l->marked_ns = fg_clock_ns();
	return 0;
}

/* The lines of files, from the journal to the manifest. */
static int
copy_sums(const struct fg_export_log *l, FILE *to)
{
	char *line = NULL;
	size_t room = 0;
	int rc = fseek(l->f, 0, SEEK_SET);

	while (rc == 0 && getline(&line, &room, l->f) > 0) {
		if (!strchr("@{#", line[0]) && fputs(line, to) < 0)
			rc = -1;
	}
	free(line);
	return rc < 0 || ferror(l->f) || fflush(to) != 0 || fsync(fileno(to)) < 0 ? -1
										  : 0;
}

int
fg_export_log_finish(struct fg_export_log *l, struct fg_err *err)
{
	char *path = fg_asprintf("%s/" FG_EXPORT_MANIFEST, l->dest);
	char *tmp = fg_asprintf("%s.tmp", path);
	FILE *to = NULL;
	int rc = -1;

	if (fflush(l->f) != 0 || syncfs(fileno(l->f)) < 0) {
		write_failed(l, err);
		goto out;
	}
	to = fopen(tmp, "we");
	if (!to || copy_sums(l, to) < 0 || rename(tmp, path) < 0) {
		fg_fail_errno(err, "%s", path);
		goto out;
	}
	if (unlink(l->path) < 0) {
		write_failed(l, err);
		goto out;
	}
	rc = fg_file_sync_dir(l->dest, err);
out:
	if (to)
		fclose(to);
	if (rc < 0)
		unlink(tmp);
	free(tmp);
	free(path);
	return rc;
}
