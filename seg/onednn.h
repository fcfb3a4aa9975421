/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What oneDNN can do by itself, as a measure for what a back end makes of it
 * (bench/ffn.c). The back ends themselves are in seg/device.h.
 */
#ifndef FG_SEG_ONEDNN_H
#define FG_SEG_ONEDNN_H

#include "seg/device.h"

/* Run the bare convolutions of net (nothing fused, no activation between them) `runs`
 * times on dev, one of fg_backend_cpu, and give the least milliseconds of a run. */
int fg_onednn_time_bare(struct fg_device *dev, const struct fg_net *net,
    enum fg_precision prec, int runs, double *best_ms, struct fg_err *err) FG_MUST_USE;

#endif
