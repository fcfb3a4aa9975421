/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published segmentation of the FIB-25 sample against its ground truth: the figures
 * found by another implementation, and scikit-image's on the same arrays. Python (with
 * numpy, h5py, scikit-image) reads the HDF5 file and writes plain arrays.
 */
#include "config.h"

#include "seg/score.h"

#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "tests/tap.h"

enum { EDGE = 250 };

static struct fg_err err = FG_ERR_INIT;
static char dir[] = "/tmp/fg-score-XXXXXX";

static struct fg_buf *
read_part(const char *name)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	struct fg_buf *b = fg_file_read(path, (size_t)4 * EDGE * EDGE * EDGE, &err);
	if (!b) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	unlink(path);
	return b;
}

static void
near(double got, double want, double tolerance, const char *what)
{
	tap_ok(fabs(got - want) <= tolerance, "%s: %.4f", what, want);
	if (!(fabs(got - want) <= tolerance))
		printf("# got %.17g, wanted %.17g\n", got, want);
}

static void
write_arrays(void)
{
	const char *sample = tap_need_data(), *srcdir = getenv("srcdir");

	if (!mkdtemp(dir)) {
		perror("mkdtemp");
		exit(1);
	}
	char *command = fg_asprintf("python3 '%s/tests/seg/score_sample.py' '%s' '%s'",
	    srcdir ? srcdir : ".", sample, dir);
	int status = system(command);
	free(command);
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 3 ||
	    WEXITSTATUS(status) == 127) {
		rmdir(dir);
		tap_missing("Python with numpy, h5py and scikit-image");
	}
	tap_int(WEXITSTATUS(status), 0, "Python reads the sample");
}

/* Ten z planes at a time, as a stream would. */
static struct fg_score
score_slabs(const struct fg_buf *seg, const struct fg_buf *truth)
{
	struct fg_scorer *s = fg_score_new(0);
	struct fg_score out = {0};

	for (size_t z = 0; z < EDGE; z += 10) {
		size_t first = z * EDGE * EDGE;
		struct fg_array a = {.dtype = FG_U8,
		    .shape = {EDGE, EDGE, 10, 1},
		    .data = (uint8_t *)seg->data + first};
		struct fg_array b = {.dtype = FG_U32,
		    .shape = {EDGE, EDGE, 10, 1},
		    .data = (uint8_t *)truth->data + 4 * first};
		if (fg_score_add(s, &a, &b, &err) < 0)
			tap_ok(false, "slab at %zu: %s", z, err.msg);
	}
	tap_rc(fg_score_get(s, FG_SCORE_BOTH, &out, &err), &err, "scores");
	fg_score_free(s);
	return out;
}

int
main(void)
{
	write_arrays();
	struct fg_buf *seg = read_part("seg.u8"), *truth = read_part("truth.u32");
	struct fg_buf *text = read_part("skimage.json");
	rmdir(dir);
	tap_int(seg->len, EDGE * EDGE * EDGE, "size of the segmentation");
	struct fg_score s = score_slabs(seg, truth);

	near(s.voi_split, 0.6126, 5e-5, "VOI split");
	near(s.voi_merge, 0.2632, 5e-5, "VOI merge");
	near(s.rand_error, 0.0557, 5e-5, "adapted Rand error");
	near(s.rand_precision, 0.9725, 5e-5, "precision");
	near(s.rand_recall, 0.9176, 5e-5, "recall");
	near(s.iou_weighted, 0.7724, 5e-5, "size-weighted best IoU");
	near((double)s.compared / (double)s.voxels, 0.8875, 5e-5, "share compared");
	tap_int(s.test_objects, 254, "objects");
	tap_int(s.ref_objects, 525, "bodies of the ground truth");
	tap_int(s.matched[0], 76, "matched at IoU 0.5");
	tap_int(s.matched[1], 51, "matched at IoU 0.75");
	tap_int(s.matched[2], 12, "matched at IoU 0.9");

	json_t *j = fg_json_parse((const char *)text->data, text->len, "skimage", &err);
	json_t *voi = json_object_get(j, "voi");
	near(s.voi_split, json_real_value(json_array_get(voi, 0)), 1e-9,
	    "split by scikit-image");
	near(s.voi_merge, json_real_value(json_array_get(voi, 1)), 1e-9,
	    "merge by scikit-image");
	near(s.rand_error, json_real_value(json_object_get(j, "rand_error")), 1e-5,
	    "error by scikit-image");
	json_decref(j);
	fg_buf_unref(seg);
	fg_buf_unref(truth);
	fg_buf_unref(text);
	return tap_done();
}
