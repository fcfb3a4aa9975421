/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HDF5 datasets by libhdf5, the only file that knows it. A box is one hyperslab, read
 * into a piece of that size and then turned into our axes. The library is not
 * re-entrant in most builds, and its state is one per process: `one_at_a_time` guards
 * every call.
 *
 * The order of the axes is an option, else the dataset's attribute "axes" (text), else
 * zyx; a fourth axis is the channel, last if its extent is at most 4, else first. The
 * resolution comes from the attributes "resolution" (nm) or "element_size_um", which
 * are in the order of the spatial axes.
 */
#include "config.h"

#ifdef HAVE_HDF5
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <hdf5.h>
#endif

#include "formats/foreign.h"

#ifdef HAVE_HDF5

#define CACHE_BYTES ((size_t)64 << 20) /* of decompressed chunks per dataset */
#define CACHE_SLOTS 10007              /* a prime, as libhdf5 asks for */

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

struct hdf5 {
	hid_t file, data, type; /* type: in memory */
	struct fg_axes axes;
	bool is_signed64; /* int64, served as uint64 */
};

/* Which of our types; *memory is what libhdf5 shall convert to (byte order only). */
static int
find_type(hid_t t, enum fg_dtype *out, hid_t *memory, struct fg_err *err)
{
	bool sign = H5Tget_sign(t) == H5T_SGN_2;
	size_t size = H5Tget_size(t);

	if (H5Tget_class(t) == H5T_FLOAT && size == 4) {
		*out = FG_F32;
		*memory = H5T_NATIVE_FLOAT;
		return 0;
	}
	if (H5Tget_class(t) != H5T_INTEGER)
		return fg_fail(err, FG_ENOTSUP,
		    "values are neither whole numbers nor float32 (HDF5 class %d, %zu "
		    "bytes)",
		    (int)H5Tget_class(t), size);
	switch (size) {
	case 1:
		*out = sign ? FG_I8 : FG_U8;
		*memory = sign ? H5T_NATIVE_INT8 : H5T_NATIVE_UINT8;
		return 0;
	case 2:
		*out = sign ? FG_I16 : FG_U16;
		*memory = sign ? H5T_NATIVE_INT16 : H5T_NATIVE_UINT16;
		return 0;
	case 4:
		*out = sign ? FG_I32 : FG_U32;
		*memory = sign ? H5T_NATIVE_INT32 : H5T_NATIVE_UINT32;
		return 0;
	case 8:
		*out = FG_U64;
		*memory = sign ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT64;
		return 0;
	default:
		return fg_fail(err, FG_ENOTSUP, "whole numbers of %zu bytes", size);
	}
}

/* The text of an attribute, lower case; false if there is none or it is long. */
static bool
read_text(hid_t data, const char *name, char *out, size_t cap)
{
	hid_t a, t, as;
	bool ok = false;
	char *variable = NULL;

	if (H5Aexists(data, name) <= 0)
		return false;
	a = H5Aopen(data, name, H5P_DEFAULT);
	t = H5Aget_type(a);
	hid_t space = H5Aget_space(a);
	memset(out, 0, cap);
	as = H5Tcopy(H5T_C_S1);
	H5Tset_cset(as, H5Tget_cset(t));
	if (H5Tget_class(t) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1) {
		ok = false;
	} else if (H5Tis_variable_str(t) > 0) {
		H5Tset_size(as, H5T_VARIABLE);
		if (H5Aread(a, as, &variable) >= 0 && variable) {
			ok = strlen(variable) < cap;
			if (ok)
				strcpy(out, variable);
			H5free_memory(variable);
		}
	} else if (H5Tget_size(t) < cap) {
		H5Tset_size(as, H5Tget_size(t) + 1);
		ok = H5Aread(a, as, out) >= 0;
	}
	for (char *p = out; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	H5Tclose(as);
	H5Sclose(space);
	H5Tclose(t);
	H5Aclose(a);
	return ok && out[0];
}

/* An attribute of three numbers in the order of the file's spatial axes. */
static void
read_resolution(const struct hdf5 *h, const char *name, double unit, double nm[3])
{
	double v[3] = {0, 0, 0};

	if (H5Aexists(h->data, name) <= 0)
		return;
	hid_t a = H5Aopen(h->data, name, H5P_DEFAULT);
	hid_t space = H5Aget_space(a);
	if (H5Sget_simple_extent_npoints(space) == 3 &&
	    H5Aread(a, H5T_NATIVE_DOUBLE, v) >= 0 && v[0] > 0 && v[1] > 0 && v[2] > 0) {
		for (int i = 0, k = 0; i < h->axes.rank && k < 3; i++) {
			int d = h->axes.of[i];

			if (d >= 0 && d < 3)
				nm[d] = v[k++] * unit;
		}
	}
	H5Sclose(space);
	H5Aclose(a);
}

/* FILE:/PATH -> the two parts; the file's name ends at the last ":/". */
static bool
split_path(const char *path, char **file, const char **data)
{
	const char *at = NULL;

	for (const char *p = strstr(path, ":/"); p; p = strstr(p + 1, ":/"))
		at = p;
	if (!at || at == path)
		return false;
	*file = fg_strndup(path, (size_t)(at - path));
	*data = at + 1;
	return true;
}

static int
open_dataset(struct hdf5 *h, const char *file, const char *path, struct fg_err *err)
{
	if (access(file, R_OK) < 0)
		return fg_fail_errno(err, "%s", file);
	h->file = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT);
	if (h->file < 0)
		return fg_fail(err, FG_ECORRUPT, "no HDF5 file, or a damaged one");
	hid_t access_list = H5Pcreate(H5P_DATASET_ACCESS);
	H5Pset_chunk_cache(access_list, CACHE_SLOTS, CACHE_BYTES, 1.0);
	h->data = H5Dopen2(h->file, path, access_list);
	H5Pclose(access_list);
	if (h->data < 0)
		return fg_fail(err, FG_ENOENT, "there is no dataset %.200s", path);
	return 0;
}

static int
read_shape(struct hdf5 *h, const char *axes, struct fg_foreign *r, struct fg_err *err)
{
	static const char *const usual[] = {[2] = "yx", [3] = "zyx", [5] = "tczyx"};
	hsize_t size[H5S_MAX_RANK] = {0}, chunk[H5S_MAX_RANK] = {0};
	int64_t n[FG_FOREIGN_AXES], shape[4];
	hid_t space = H5Dget_space(h->data), plist = H5Dget_create_plist(h->data);
	int rank = H5Sget_simple_extent_dims(space, size, NULL);
	bool chunked = rank > 0 && H5Pget_layout(plist) == H5D_CHUNKED &&
		       H5Pget_chunk(plist, rank, chunk) == rank;
	const char *guess = NULL;
	char text[16];

	H5Sclose(space);
	H5Pclose(plist);
	if (rank < 2 || rank > FG_FOREIGN_AXES)
		return fg_fail(err, FG_ENOTSUP, "an array of %d axes, not 2 to %d",
		    rank, FG_FOREIGN_AXES);
	for (int i = 0; i < rank; i++)
		n[i] = (int64_t)FG_MIN(size[i], (hsize_t)INT64_MAX);
	guess = rank == 4 ? (n[3] <= 4 ? "zyxc" : "czyx") : usual[rank];
	if (!axes && read_text(h->data, "axes", text, sizeof text))
		axes = text;
	if (fg_axes_parse(&h->axes, axes, guess, rank, n, shape, err) < 0)
		return -1;
	r->channels = (int)shape[3];
	r->scales = 1;
	memcpy(r->scale[0].size, shape, sizeof r->scale[0].size);
	for (int i = 0; i < rank && chunked; i++) {
		if (h->axes.of[i] >= 0 && h->axes.of[i] < 3)
			r->scale[0].chunk[h->axes.of[i]] = (int64_t)chunk[i];
	}
	read_resolution(h, "element_size_um", 1000, r->scale[0].nm);
	read_resolution(h, "resolution", 1, r->scale[0].nm);
	return 0;
}

static int
open_locked(struct fg_foreign *r, const char *path, const char *axes,
    struct fg_err *err)
{
	struct hdf5 *h = r->priv;
	const char *name = NULL;
	char *file = NULL;
	int rc;

	H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
	if (!split_path(path, &file, &name))
		return fg_fail(err, FG_EINVAL,
		    "wanted FILE:/PATH/OF/DATASET, there is no \":/\" in it");
	rc = open_dataset(h, file, name, err);
	free(file);
	if (rc < 0)
		return -1;
	hid_t t = H5Dget_type(h->data);
	rc = find_type(t, &r->dtype, &h->type, err);
	h->is_signed64 = rc == 0 && h->type == H5T_NATIVE_INT64;
	H5Tclose(t);
	return rc < 0 ? -1 : read_shape(h, axes, r, err);
}

static int
hdf5_open(struct fg_foreign *r, const char *path, const char *axes, struct fg_err *err)
{
	struct hdf5 *h = fg_calloc(1, sizeof *h);
	int rc;

	h->file = h->data = -1;
	r->priv = h;
	pthread_mutex_lock(&one_at_a_time);
	rc = open_locked(r, path, axes, err);
	pthread_mutex_unlock(&one_at_a_time);
	return rc;
}

static int
read_locked(const struct hdf5 *h, const hsize_t *lo, const hsize_t *count, void *to,
    struct fg_err *err)
{
	hid_t space = H5Dget_space(h->data);
	hid_t memory = H5Screate_simple(h->axes.rank, count, NULL);
	int rc = 0;

	if (H5Sselect_hyperslab(space, H5S_SELECT_SET, lo, NULL, count, NULL) < 0 ||
	    H5Dread(h->data, h->type, memory, space, H5P_DEFAULT, to) < 0)
		rc = fg_fail(err, FG_ECORRUPT,
		    "HDF5: a damaged dataset, or a filter that this build lacks");
	H5Sclose(memory);
	H5Sclose(space);
	return rc;
}

static int
hdf5_box(struct fg_foreign *r, int scale FG_UNUSED, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err)
{
	const struct hdf5 *h = r->priv;
	int64_t lo[FG_FOREIGN_AXES], size[FG_FOREIGN_AXES];
	hsize_t from[FG_FOREIGN_AXES], count[FG_FOREIGN_AXES];
	size_t n = fg_array_count(out);
	void *piece = fg_try_alloc(n, fg_dtype_size(out->dtype));
	int rc;

	if (!piece)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu voxels", n);
	for (int i = 0; i < h->axes.rank; i++) {
		int d = h->axes.of[i];

		lo[i] = d >= 0 && d < 3 ? vx->lo[d] : 0;
		size[i] = d < 0 ? 1 : d < 3 ? vx->hi[d] - vx->lo[d] : r->channels;
		from[i] = (hsize_t)lo[i];
		count[i] = (hsize_t)size[i];
	}
	pthread_mutex_lock(&one_at_a_time);
	rc = read_locked(h, from, count, piece, err);
	pthread_mutex_unlock(&one_at_a_time);
	for (size_t i = 0; rc == 0 && h->is_signed64 && i < n; i++) {
		if (((const int64_t *)piece)[i] < 0)
			rc = fg_fail(err, FG_ENOTSUP, "int64 value %lld is negative",
			    (long long)((const int64_t *)piece)[i]);
	}
	if (rc == 0)
		fg_axes_copy(&h->axes, piece, lo, size, true, false, vx, out);
	free(piece);
	return rc;
}

static void
hdf5_close(struct fg_foreign *r)
{
	struct hdf5 *h = r->priv;

	pthread_mutex_lock(&one_at_a_time);
	if (h->data >= 0)
		H5Dclose(h->data);
	if (h->file >= 0)
		H5Fclose(h->file);
	pthread_mutex_unlock(&one_at_a_time);
	free(h);
}

#else

static int
hdf5_open(struct fg_foreign *r FG_UNUSED, const char *path FG_UNUSED,
    const char *axes FG_UNUSED, struct fg_err *err)
{
	return fg_fail(err, FG_ENOTSUP, "HDF5 is not available in this build");
}

static int
hdf5_box(struct fg_foreign *r FG_UNUSED, int scale FG_UNUSED,
    const struct fg_box *vx FG_UNUSED, struct fg_array *out FG_UNUSED,
    struct fg_err *err)
{
	return fg_fail(err, FG_ENOTSUP, "HDF5 is not available in this build");
}

static void
hdf5_close(struct fg_foreign *r FG_UNUSED)
{
}

#endif

const struct fg_foreign_ops fg_hdf5_ops = {"hdf5", hdf5_open, hdf5_box, hdf5_close};
