/* SPDX-License-Identifier: Apache-2.0 */
/* PNG and .npz: the files of the FIB-25 sample. */
#include "config.h"

#include <math.h>

#include <libdeflate.h>

#include "base/file.h"
#include "formats/codec.h"
#include "formats/npy.h"
#include "tests/tap.h"

/* The sample: every section can be read; sizes as its README says. */
static void
test_sections(void)
{
	struct fg_err err = FG_ERR_INIT;
	double sum = 0;
	int lo = 255, hi = 0, bad = 0;

	for (int z = 2600; z < 2850; z++) {
		char path[2048];
		struct fg_array a = FG_ARRAY_INIT;
		struct fg_buf *f;

		snprintf(path, sizeof path, "%s/training_sample2_grayscale/iso.%d.png",
		    tap_need_data(), z);
		f = fg_file_read(path, 1 << 20, &err);
		if (!f || fg_png_read(f->data, f->len, 250, &a, &err) < 0 ||
		    a.dtype != FG_U8 || a.shape[0] != 250 || a.shape[1] != 250) {
			bad++;
		} else {
			for (int i = 0; i < 62500; i++) {
				int v = ((uint8_t *)a.data)[i];

				sum += v;
				lo = FG_MIN(lo, v);
				hi = FG_MAX(hi, v);
			}
		}
		fg_array_fini(&a);
		fg_buf_unref(f);
	}
	tap_int(bad, 0, "all 250 sections: %s", err.msg);
	tap_ok(lo == 26 && hi == 217 && lround(sum / 156250) == 13003,
	    "range 26 to 217, mean 130.03: %d to %d, %.4f", lo, hi, sum / 250 / 62500);
}

static void
test_segmentation(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a = FG_ARRAY_INIT;
	char path[2048];
	struct fg_buf *f;

	snprintf(path, sizeof path, "%s/sample-training2.npz", tap_need_data());
	f = fg_file_read(path, 1 << 26, &err);
	if (!tap_rc(f ? 0 : -1, &err, "read the published segmentation"))
		return;
	tap_rc(fg_npz_decode(f->data, f->len, "segmentation", 15625000, &a, &err), &err,
	    "its array");
	tap_ok(a.dtype == FG_U8 && a.shape[0] == 250 && a.shape[1] == 250 &&
		   a.shape[2] == 250 && a.shape[3] == 1,
	    "250^3 uint8");
	tap_int(libdeflate_crc32(0, a.data, fg_array_bytes(&a)), 0x48804b44,
	    "the values numpy reads");
	fg_array_fini(&a);
	tap_fails(fg_npz_decode(f->data, f->len, "segmentation", 15624999, &a, &err),
	    &err, FG_EINVAL, "250 x 250 x 250 x 1 values is above 15624999", "limit");
	tap_fails(fg_npz_decode(f->data, f->len, "origins", 1 << 24, &a, &err), &err,
	    FG_ENOTSUP, "pickled objects", "the pickle in it");
	fg_buf_unref(f);
}

int
main(void)
{
	test_sections();
	test_segmentation();
	return tap_done();
}
