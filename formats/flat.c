/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays in one piece behind a header: see the header. */
#include "config.h"

#include "formats/flat.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/* Longest plane of the two fastest axes that is read at a time. */
#define PLANE_MAX ((uint64_t)1 << 31)

int
fg_flat_open(struct fg_flat *f, const char *path, struct fg_err *err)
{
	uint8_t head[2];
	struct stat st;

	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0)
		return fg_fail_errno(err, "cannot be opened");
	if (fstat(f->fd, &st) < 0)
		return fg_fail_errno(err, "cannot be read");
	if (!S_ISREG(st.st_mode))
		return fg_fail(err, FG_EINVAL, "is not a regular file");
	if (pread(f->fd, head, 2, 0) == 2 && head[0] == 0x1f && head[1] == 0x8b) {
		/* gzip shrinks a thousandfold at most; the marks need a guess only */
		f->gz = fg_gzseek_open(f->fd, (uint64_t)st.st_size * 4, err);
		return f->gz ? 0 : -1;
	}
	return 0;
}

void
fg_flat_close(struct fg_flat *f)
{
	fg_gzseek_close(f->gz);
	if (f->fd >= 0)
		close(f->fd);
}

int
fg_flat_read(struct fg_flat *f, uint64_t off, void *p, size_t n, struct fg_err *err)
{
	int rc;

	if (!f->gz)
		return fg_file_pread(f->fd, p, n, off, "file", err);
	pthread_mutex_lock(&f->lock);
	rc = fg_gzseek_read(f->gz, off, p, n, err);
	pthread_mutex_unlock(&f->lock);
	return rc;
}

int
fg_flat_check(struct fg_flat *f, struct fg_err *err)
{
	uint64_t n = fg_dtype_size(f->stored), end;
	struct stat st;

	for (int i = 0; i < f->axes.rank; i++) {
		if (__builtin_mul_overflow(n, (uint64_t)f->axes.size[i], &n))
			return fg_fail(err, FG_ECORRUPT,
			    "more bytes than can be counted");
	}
	if (__builtin_add_overflow(n, f->offset, &end) || end > INT64_MAX)
		return fg_fail(err, FG_ECORRUPT, "more bytes than can be counted");
	if (f->gz)
		return 0;
	if (fstat(f->fd, &st) < 0)
		return fg_fail_errno(err, "cannot be read");
	if ((uint64_t)st.st_size < end)
		return fg_fail(err, FG_ECORRUPT,
		    "has %lld bytes, its header and values need %llu",
		    (long long)st.st_size, (unsigned long long)end);
	return 0;
}

/* Position of the k-th fastest axis among those of the file. */
static int
axis(const struct fg_flat *f, int k)
{
	return f->c_order ? f->axes.rank - 1 - k : k;
}

void
fg_flat_describe(const struct fg_flat *f, const int64_t shape[4], struct fg_foreign *r)
{
	r->dtype = f->scaled ? FG_F32 : f->stored;
	r->channels = (int)shape[3];
	r->scales = 1;
	memcpy(r->scale[0].size, shape, sizeof r->scale[0].size);
	/* Sections that lie in the file one after the other are read one by one. Where
	 * z is one of the two fastest axes, each costs a pass: many at a time then. */
	for (int k = 0; k < 2 && k < f->axes.rank; k++) {
		if (f->axes.of[axis(f, k)] == 2)
			r->scale[0].chunk[2] = FG_MIN(shape[2], 64);
	}
}

/* What of the box lies on one axis of the file. */
static void
range_of(const struct fg_flat *f, int i, const struct fg_box *vx, int64_t *lo,
    int64_t *hi)
{
	int of = f->axes.of[i];

	*lo = of >= 0 && of < 3 ? vx->lo[of] : 0;
	*hi = of >= 0 && of < 3 ? vx->hi[of] : f->axes.size[i];
}

static int
check_signs(const struct fg_array *a, struct fg_err *err)
{
	const int64_t *v = a->data;

	for (size_t i = 0, n = fg_array_count(a); i < n; i++) {
		if (v[i] < 0)
			return fg_fail(err, FG_ENOTSUP, "int64 value %lld is negative",
			    (long long)v[i]);
	}
	return 0;
}

#define SCALE(T)                                                                       \
	for (size_t i = 0; i < n; i++)                                                 \
	to[i] = (float)(f->slope * (double)((const T *)from->data)[i] + f->inter)

static void
scale_values(const struct fg_flat *f, const struct fg_array *from, struct fg_array *out)
{
	size_t n = fg_array_count(from);
	float *to = out->data;

	switch (from->dtype) {
	case FG_U8:
		SCALE(uint8_t);
		return;
	case FG_I8:
		SCALE(int8_t);
		return;
	case FG_U16:
		SCALE(uint16_t);
		return;
	case FG_I16:
		SCALE(int16_t);
		return;
	case FG_U32:
		SCALE(uint32_t);
		return;
	case FG_I32:
		SCALE(int32_t);
		return;
	case FG_U64:
		if (f->is_signed64)
			SCALE(int64_t);
		else
			SCALE(uint64_t);
		return;
	case FG_F32:
	case FG_DTYPES:
		SCALE(float);
		return;
	}
}

/* All planes of the two fastest axes that the box needs, one after the other. at: the
 * indices of the slower ones. */
static int
read_planes(struct fg_flat *f, const struct fg_box *vx, struct fg_array *out,
    struct fg_err *err)
{
	int rank = f->axes.rank, fast = axis(f, 0), rows = axis(f, 1);
	int64_t lo[FG_FOREIGN_AXES], hi[FG_FOREIGN_AXES], at[FG_FOREIGN_AXES];
	int64_t size[FG_FOREIGN_AXES];
	uint64_t bytes;
	void *plane;
	bool more = true;
	int rc = 0, k;

	for (int i = 0; i < rank; i++) {
		range_of(f, i, vx, &lo[i], &hi[i]);
		at[i] = lo[i];
		size[i] = 1;
	}
	/* Whole rows; of the second axis what is wanted. */
	at[fast] = 0;
	size[fast] = f->axes.size[fast];
	size[rows] = hi[rows] - lo[rows];
	bytes = (uint64_t)size[fast] * fg_dtype_size(f->stored);
	if (__builtin_mul_overflow(bytes, (uint64_t)size[rows], &bytes) ||
	    bytes > PLANE_MAX)
		return fg_fail(err, FG_ENOTSUP, "planes of more than %llu bytes",
		    (unsigned long long)PLANE_MAX);
	plane = fg_try_alloc((size_t)bytes, 1);
	if (!plane)
		return fg_fail(err, FG_ENOMEM, "no memory for a plane");
	while (rc == 0 && more) {
		uint64_t index = 0;

		for (k = rank - 1; k >= 0; k--)
			index = index * (uint64_t)f->axes.size[axis(f, k)] +
				(uint64_t)at[axis(f, k)];
		rc = fg_flat_read(f, f->offset + index * fg_dtype_size(f->stored),
		    plane, (size_t)bytes, err);
		if (rc == 0)
			fg_axes_copy(&f->axes, plane, at, size, f->c_order, f->swap, vx,
			    out);
		/* The next plane: count up, the third fastest axis first. */
		for (k = 2; k < rank; k++) {
			if (++at[axis(f, k)] < hi[axis(f, k)])
				break;
			at[axis(f, k)] = lo[axis(f, k)];
		}
		more = k < rank;
	}
	free(plane);
	return rc;
}

int
fg_flat_box(struct fg_flat *f, const struct fg_box *vx, struct fg_array *out,
    struct fg_err *err)
{
	struct fg_array raw = FG_ARRAY_INIT;
	int rc;

	if (!f->scaled) {
		rc = read_planes(f, vx, out, err);
		return rc == 0 && f->is_signed64 ? check_signs(out, err) : rc;
	}
	if (fg_array_init(&raw, f->stored, out->shape, err) < 0)
		return -1;
	rc = read_planes(f, vx, &raw, err);
	if (rc == 0)
		scale_values(f, &raw, out);
	fg_array_fini(&raw);
	return rc;
}
