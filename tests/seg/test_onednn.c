/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FIB-25 network on a processor core: the published check values, and a float64
 * implementation (reference.py) on the same inputs, for each precision; the plain
 * implementation that devices are checked with; what a device refuses.
 */
#include "config.h"

#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "seg/onednn.h"
#include "tests/seg/sample.h"
#include "tests/tap.h"

enum { FOV = 33, VOXELS = FOV * FOV * FOV, CENTRE = (16 * FOV + 16) * FOV + 16 };

#define MOVE 2.1972246f /* logit(0.9) */

static struct fg_err err = FG_ERR_INIT;
static float in[2][2 * VOXELS], out[2][VOXELS];
static double want[2][VOXELS];

/* The field of view at z, y, x = 16, 18, 109 and a fresh seed. */
static void
first_patch(float *p)
{
	const struct fg_box box = {{93, 2, 0}, {126, 35, 33}};
	struct fg_array image;

	sample_image(&box, &image);
	for (size_t i = 0; i < VOXELS; i++) {
		p[i] = ((float)((uint8_t *)image.data)[i] - 128.0f) / 33.0f;
		p[VOXELS + i] = logf(0.05f / 0.95f);
	}
	p[VOXELS + CENTRE] = logf(0.95f / 0.05f);
	fg_array_fini(&image);
}

static void
near(double got, double value, double tolerance, const char *what)
{
	bool ok = fabs(got - value) <= tolerance;

	tap_ok(ok, "%s is %g within %g", what, value, tolerance);
	if (!ok)
		printf("# got %.9g\n", got);
}

static double
share_above(const float *logit)
{
	size_t n = 0;

	for (size_t i = 0; i < VOXELS; i++)
		n += logit[i] >= MOVE;
	return 100.0 * (double)n / VOXELS;
}

static float
extreme(const float *v, bool max)
{
	float best = v[0];

	for (size_t i = 1; i < VOXELS; i++)
		best = max ? fmaxf(best, v[i]) : fminf(best, v[i]);
	return best;
}

/* Two passes of the network, the second one on what the first one made in float32.
 * plain_onednn: also where the back end has something faster. */
static void
two_steps(struct fg_device *dev, const struct fg_net *net, enum fg_precision prec,
    bool plain_onednn)
{
	struct fg_model *m = NULL;
	int rc = plain_onednn
		     ? fg_onednn_load(fg_cpu_onednn(dev), net, prec, 4, &m, &err)
		     : fg_device_load(dev, net, prec, 4, &m, &err);

	if (!tap_rc(rc, &err, "load"))
		return;
	tap_rc(m->backend->forward(m, 1, in[0], out[0], &err), &err, "first step");
	if (prec == FG_PREC_F32) {
		memcpy(in[1], in[0], VOXELS * sizeof(float));
		memcpy(in[1] + VOXELS, out[0], sizeof out[0]);
	}
	tap_rc(m->backend->forward(m, 1, in[1], out[1], &err), &err, "second step");
	float *again = fg_alloc(sizeof out[0]);
	tap_rc(m->backend->forward(m, 1, in[0], again, &err), &err, "again");
	tap_ok(memcmp(again, out[0], sizeof out[0]) == 0, "%s: the same bits again",
	    fg_precision_name(prec));
	free(again);
	m->backend->unload(m);
}

static void
check_values(void)
{
	near(out[0][CENTRE], 5.494938, 1e-3, "f32, step 1, centre");
	near(extreme(out[0], true), 5.494938, 1e-3, "f32, step 1, maximum");
	near(share_above(out[0]), 81.65, 0.006, "f32, step 1, % at or above move");
	near(out[1][CENTRE], 3.610698, 1e-3, "f32, step 2, centre");
	near(extreme(out[1], true), 3.610698, 1e-3, "f32, step 2, maximum");
	near(extreme(out[1], false), -3.673464, 1e-3, "f32, step 2, minimum");
	near(share_above(out[1]), 87.37, 0.006, "f32, step 2, % at or above move");
}

/* Have reference.py compute `want`. */
static void
float64(void)
{
	char dir[] = "/tmp/fg-onednn-XXXXXX", from[64], to[64];
	const char *srcdir = getenv("srcdir");

	if (!mkdtemp(dir))
		sample_die("temporary folder", &err);
	snprintf(from, sizeof from, "%s/in", dir);
	snprintf(to, sizeof to, "%s/out", dir);
	if (fg_file_write_fast(from, in, sizeof in, &err) < 0)
		sample_die(from, &err);
	char *command = fg_asprintf("python3 '%s/tests/seg/reference.py' "
				    "'%s/model.ckpt-27465036' %s %s",
	    srcdir ? srcdir : ".", tap_need_data(), from, to);
	int status = system(command);
	free(command);
	unlink(from);
	struct fg_buf *b = fg_file_read(to, sizeof want, &err);
	unlink(to);
	rmdir(dir);
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 3 ||
	    WEXITSTATUS(status) == 127)
		tap_missing("Python with numpy");
	tap_int(WEXITSTATUS(status), 0, "float64 by numpy");
	if (!b || b->len != sizeof want)
		sample_die("float64 results", &err);
	memcpy(want, b->data, sizeof want);
	fg_buf_unref(b);
}

static void
compare(enum fg_precision prec, double rms_max, double max_max)
{
	for (int k = 0; k < 2; k++) {
		double sum = 0, max = 0;

		for (size_t i = 0; i < VOXELS; i++) {
			double e = fabs(out[k][i] - want[k][i]);

			sum += e * e;
			max = fmax(max, e);
		}
		double rms = sqrt(sum / VOXELS);
		tap_ok(rms <= rms_max && max <= max_max,
		    "%s, step %d: rms %.2g, max %.2g of float64 (at most %g, %g)",
		    fg_precision_name(prec), k + 1, rms, max, rms_max, max_max);
	}
}

/* The plain loops on a patch of 9^3 against oneDNN, which is right by now. */
static void
plain(struct fg_device *dev, const struct fg_net *net)
{
	enum { N = 729 };
	struct fg_net small = *net;
	struct fg_model *m = NULL;
	float p[2 * N], a[N], b[N], far = 0;

	for (int d = 0; d < 3; d++)
		small.shape.fov[d] = 9;
	for (int i = 0; i < 2 * N; i++)
		p[i] = in[1][i];
	tap_rc(dev->backend->load(dev, &small, FG_PREC_F32, 1, &m, &err), &err, "9^3");
	if (!m)
		return;
	tap_rc(m->backend->forward(m, 1, p, a, &err), &err, "9^3 by the device");
	tap_rc(fg_device_reference(&small, p, b, &err), &err, "9^3 by plain loops");
	for (int i = 0; i < N; i++)
		far = fmaxf(far, fabsf(a[i] - b[i]));
	tap_ok(far < 1e-4f, "plain loops agree (%.2g)", (double)far);
	m->backend->unload(m);
}

/* The check at start-up must notice when a device computes something else. */
static const struct fg_backend *unbroken;

static int
broken_forward(struct fg_model *m, int n, const float *from, float *to,
    struct fg_err *e)
{
	int rc = unbroken->forward(m, n, from, to, e);

	for (int64_t i = 0; i < m->fov[0] * m->fov[1] * m->fov[2]; i++)
		to[i] *= 1.1f;
	return rc;
}

static int
broken_load(struct fg_device *dev, const struct fg_net *net, enum fg_precision prec,
    int batch_max, struct fg_model **m, struct fg_err *e)
{
	static struct fg_backend broken;
	int rc = fg_backend_cpu.load(dev, net, prec, batch_max, m, e);

	if (rc == 0) {
		unbroken = (*m)->backend;
		broken = *unbroken;
		broken.forward = broken_forward;
		(*m)->backend = &broken;
	}
	return rc;
}

static void
refusals(struct fg_device *dev, const struct fg_net *net)
{
	const struct fg_backend *backend = NULL, *real = dev->backend;
	struct fg_backend broken = *real;
	struct fg_model *m = NULL;
	int i;

	tap_fails(dev->backend->load(dev, net, FG_PREC_F16, 1, &m, &err), &err,
	    FG_ENOTSUP, "f16", "f16 is refused");
	broken.load = broken_load;
	dev->backend = &broken;
	tap_fails(fg_device_load(dev, net, FG_PREC_F32, 1, &m, &err), &err, FG_EIO,
	    "self-check", "a device that is wrong by a tenth is refused");
	dev->backend = real;
	tap_fails(fg_device_find("cpu", &backend, &i, &err), &err, FG_EINVAL, "\"cpu\"",
	    "a name without a number");
	tap_fails(fg_device_find("cpu:-1", &backend, &i, &err), &err, FG_EINVAL,
	    "cpu:-1", "a negative number");
	tap_fails(fg_device_find("cpu:0x", &backend, &i, &err), &err, FG_EINVAL,
	    "cpu:0x", "something after the number");
	tap_fails(fg_device_find("cpu:99999", &backend, &i, &err), &err, FG_ENOENT,
	    "there are", "a core that is not there");
	tap_fails(fg_device_find("quantum:0", &backend, &i, &err), &err, FG_ENOENT,
	    "no such back end", "a back end that is not there");
}

static void
devices(void)
{
	struct fg_device_desc *d = NULL;
	size_t n = 0, gpus = 0;

	tap_rc(fg_devices_list(&d, &n, &err), &err, "devices");
	tap_ok(n >= 1, "%zu devices", n);
	tap_str(d[0].name, "cpu:0", "the first is a core");
	tap_ok(d[0].usable, "it is usable");
	for (size_t i = 0; i < n; i++) {
		printf("# %s: %s\n", d[i].name, d[i].detail);
		gpus += strncmp(d[i].name, "opencl:", 7) == 0;
	}
	tap_int(gpus, fg_backend_opencl.count(), "OpenCL devices listed");
	tap_int(fg_precision_auto(d, n), d[0].bf16 ? FG_PREC_BF16 : FG_PREC_F32,
	    "automatic precision");
	free(d);
}

int
main(void)
{
	struct fg_net *net = sample_net();
	struct fg_device *dev = NULL;

	devices();
	first_patch(in[0]);
	if (!tap_rc(fg_backend_cpu.open(0, &dev, &err), &err, "open cpu:0"))
		return tap_done();
	two_steps(dev, net, FG_PREC_F32, false);
	check_values();
	float64();
	compare(FG_PREC_F32, 1e-3, 1e-3);
	two_steps(dev, net, FG_PREC_BF16, true);
	compare(FG_PREC_BF16, 0.02, 0.2);
	two_steps(dev, net, FG_PREC_BF16, false);
	compare(FG_PREC_BF16, 0.02, 0.2);
	plain(dev, net);
	refusals(dev, net);
	fg_backend_cpu.close(dev);
	fg_net_free(net);
	return tap_done();
}
