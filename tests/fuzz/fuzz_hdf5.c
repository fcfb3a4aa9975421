/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HDF5 datasets: libhdf5 itself is not ours, so the bytes are no file but say what is
 * in one: rank, type, extents, layout, and attributes of any kind where the reader
 * looks for axes and resolution. A file is made of them, opened and read; where all of
 * it is read, each of its values must come exactly once.
 */
#include "config.h"

#include "tests/fuzz/foreign.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#ifdef HAVE_HDF5

#include <hdf5.h>

enum { VALUES_MAX = 4096, TEXT_MAX = 24, MODULUS = 113 /* fits int8 */ };

struct input {
	const uint8_t *p;
	size_t n;
};

static unsigned
next(struct input *in)
{
	return in->n > 0 ? (in->n--, *in->p++) : 0;
}

/* Up to TEXT_MAX bytes, ended by 0. */
static void
next_text(struct input *in, char text[TEXT_MAX + 1])
{
	size_t n = next(in) % (TEXT_MAX + 1);

	memset(text, 0, TEXT_MAX + 1);
	for (size_t i = 0; i < n; i++)
		text[i] = (char)next(in);
}

static hid_t
any_type(unsigned kind)
{
	const hid_t types[] = {H5T_STD_U8LE, H5T_STD_I8LE, H5T_STD_U16LE, H5T_STD_I16BE,
	    H5T_STD_U32BE, H5T_STD_I32LE, H5T_STD_U64LE, H5T_STD_I64LE, H5T_IEEE_F32LE,
	    H5T_IEEE_F32BE, H5T_IEEE_F64LE, H5T_C_S1, H5T_STD_B8LE, H5T_STD_I64BE};
	hid_t t = H5Tcopy(types[kind % 15 % FG_COUNTOF(types)]);

	if (kind % 15 == 14)
		H5Tset_size(t, 3); /* of a byte: whole numbers of three */
	return t;
}

/* An attribute that may be what its name says, or text, numbers or several of either.
 */
static void
put_attribute(hid_t data, const char *name, struct input *in)
{
	unsigned kind = next(in) % 6;
	hsize_t count = kind == 2 || kind == 4 ? 1 + next(in) % 5 : 3;
	hid_t space =
	    kind < 2 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, NULL);
	hid_t type = H5Tcopy(kind < 3 ? H5T_C_S1 : H5T_NATIVE_DOUBLE);
	char text[6 * (TEXT_MAX + 1)] = "", *variable = text;
	double v[6] = {0};

	next_text(in, text);
	for (int i = 0; i < 6; i++)
		v[i] = (double)(int8_t)next(in) / 4;
	if (kind == 0)
		H5Tset_size(type, H5T_VARIABLE);
	else if (kind < 3)
		H5Tset_size(type, 1 + next(in) % TEXT_MAX);
	if (kind < 5) { /* else there is none */
		hid_t a = H5Acreate2(data, name, type, space, H5P_DEFAULT, H5P_DEFAULT);

		if (a >= 0) {
			H5Awrite(a, type,
			    kind == 0  ? (void *)&variable
			    : kind < 3 ? (void *)text
				       : (void *)v);
			H5Aclose(a);
		}
	}
	H5Tclose(type);
	H5Sclose(space);
}

/* The file; how many values it has if they were written, else 0. */
static size_t
put_dataset(const char *path, struct input *in)
{
	hid_t access_list = H5Pcreate(H5P_FILE_ACCESS), plist;
	hsize_t size[H5S_MAX_RANK], chunk[H5S_MAX_RANK];
	int rank = (int)(next(in) % 8);
	unsigned layout = next(in);
	size_t values = 1;

	H5Pset_fapl_core(access_list, 1 << 16, true);
	hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access_list);
	fg_assert(file >= 0);
	hid_t type = any_type(next(in));
	for (int i = 0; i < rank; i++) {
		size[i] = next(in);
		if (size[i] >= 240)
			size[i] = (hsize_t)1 << (size[i] - 200); /* never written */
		chunk[i] = 1 + next(in) % 16;
		if (chunk[i] > size[i])
			chunk[i] = FG_MAX(size[i], 1);
		values = values > VALUES_MAX ? values : values * (size_t)size[i];
	}
	hid_t space = H5Screate_simple(rank, size, NULL);
	plist = H5Pcreate(H5P_DATASET_CREATE);
	if ((layout & 1) && rank > 0)
		H5Pset_chunk(plist, rank, chunk);
	if ((layout & 3) == 3)
		H5Pset_deflate(plist, 1);
	hid_t data =
	    H5Dcreate2(file, "d", type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
	if (data >= 0 && values <= VALUES_MAX && !(layout & 4)) {
		static int32_t v[VALUES_MAX];

		for (size_t i = 0; i < values; i++)
			v[i] = (int32_t)(i % MODULUS);
		if (H5Dwrite(data, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, v) <
		    0)
			values = 0;
	} else {
		values = 0;
	}
	if (data >= 0) {
		put_attribute(data, "axes", in);
		put_attribute(data, "resolution", in);
		put_attribute(data, "element_size_um", in);
		H5Dclose(data);
	}
	H5Pclose(plist);
	H5Sclose(space);
	H5Tclose(type);
	H5Fclose(file);
	H5Pclose(access_list);
	return values;
}

static double
value_at(const struct fg_array *a, size_t i)
{
	const uint8_t *at = (const uint8_t *)a->data + i * fg_dtype_size(a->dtype);

	if (a->dtype == FG_F32)
		return ((const float *)a->data)[i];
	return *at; /* the least byte of a small whole number */
}

/* All voxels at once. */
static void
read_all(struct fg_foreign *f, size_t values)
{
	const int64_t *n = f->scale[0].size;
	struct fg_box all = {.hi = {n[0], n[1], n[2]}};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;
	double sum = 0, want = 0;

	fg_assert(f->channels > 0 && f->dtype < FG_DTYPES);
	fg_assert((size_t)(n[0] * n[1] * n[2] * f->channels) == values);
	fg_assert(fg_array_init(&a, f->dtype,
		      (int64_t[4]){n[0], n[1], n[2], f->channels}, &err) == 0);
	fg_assert(fg_foreign_box(f, 0, &all, &a, &err) == 0);
	for (size_t i = 0; i < values; i++) {
		sum += value_at(&a, i);
		want += (double)(i % MODULUS);
	}
	fg_assert(sum == want);
	fg_array_fini(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct input in = {p, n};
	struct fg_err err = FG_ERR_INIT;
	static char path[64];
	char axes[TEXT_MAX + 1], name[128];

	if (!path[0]) {
		snprintf(path, sizeof path, "/tmp/fg-fuzz-hdf5-%d", (int)getpid());
		H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
	}
	size_t values = put_dataset(path, &in);
	next_text(&in, axes);
	snprintf(name, sizeof name, "%s:/d", path);
	struct fg_foreign *f =
	    fg_foreign_open("hdf5", name, axes[0] ? axes : NULL, &err);
	if (f && values > 0)
		read_all(f, values);
	if (f)
		read_some(f);
	else
		fg_assert(err.code != FG_OK && err.msg[0]);
	fg_foreign_close(f);
	unlink(path);
	return 0;
}

#else

int
LLVMFuzzerTestOneInput(const uint8_t *p FG_UNUSED, size_t n FG_UNUSED)
{
	open_and_read("hdf5", "/nonexistent:/d");
	return 0;
}

#endif
