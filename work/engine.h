/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines: one network at one precision, ready to be asked for fields of view.
 *
 * An engine is a network, its batcher and one thread per device that serves it. Layers
 * whose recipes agree in model checksum, network shape and precision share one engine.
 * It is loaded when the first task needs it (seconds: weights are reordered and each
 * device checks itself) and stays until fg_engines_free; its threads sleep while there
 * is nothing to compute.
 *
 * A device that cannot run the network at that precision is not used; when none can,
 * fg_engines_get fails with the reason of the first one.
 *
 * Limit: two engines serve the same devices independently, so two models in use at
 * once share a core by the operating system's scheduling. One queue over all models
 * would lift it.
 */
#ifndef FG_WORK_ENGINE_H
#define FG_WORK_ENGINE_H

#include <jansson.h>

#include "seg/segment.h"

struct fg_engine;
struct fg_engines;

/* devices: comma list of names, NULL for all usable ones. bulk_every: see
 * fg_batcher_new. Fails: FG_EINVAL when a named device does not exist, FG_ENOTSUP when
 * none is usable. */
struct fg_engines *fg_engines_new(const char *devices, int bulk_every,
    struct fg_err *err) FG_MUST_USE;
/* Stops the batchers, joins the threads. No task may be running. */
void fg_engines_free(struct fg_engines *es);
/* Makes every running fg_segment_block fail with FG_ECANCELED. */
void fg_engines_stop(struct fg_engines *es);

/* Number of devices in the list. */
int fg_engines_count(const struct fg_engines *es);

/* Offer a network that is in memory already (tests, a checkpoint loaded for checking):
 * fg_engines_get finds it by its sha256. Takes it over. */
void fg_engines_put_net(struct fg_engines *es, struct fg_net *net);

/*
 * The engine for a network: loads `model` (prefix of a checkpoint) unless it is there.
 * Waits until at least one device serves or all have failed. The engine is owned by es
 * and valid until fg_engines_free.
 * Fails: as fg_net_load; FG_ECORRUPT when the file's checksum is not `sha256` (the
 * model was changed); FG_ENOTSUP when no device can run it, with the reason.
 */
struct fg_engine *fg_engines_get(struct fg_engines *es, const char *model,
    const char *sha256, const struct fg_net_shape *shape, enum fg_precision prec,
    struct fg_err *err) FG_MUST_USE;

struct fg_batcher *fg_engine_batcher(struct fg_engine *e);
/* Whether any device still serves; the reason of the last failure if not. */
int fg_engine_check(struct fg_engine *e, struct fg_err *err) FG_MUST_USE;
/* "cpu:0,cpu:1" and the like: the devices serving now, for provenance. free(). */
char *fg_engine_devices(struct fg_engine *e) FG_MUST_USE;

/* Seconds per field of view with all serving devices at work: floods a small made-up
 * image (a bright ball, about 27 fields of view). Fails as fg_segment_block, and with
 * FG_ENOTSUP when the network does not flood it at all. */
int fg_engine_measure(struct fg_engine *e, double *seconds,
    struct fg_err *err) FG_MUST_USE;

/* Seconds a field of view takes on one device, as it went so far; 0: none was computed
 * yet, or there is no such engine. Loads nothing and does not wait. */
double fg_engines_speed(struct fg_engines *es, const char *sha256,
    const struct fg_net_shape *shape, enum fg_precision prec);

/* What all engines did since they were made, together. */
void fg_engines_sum(struct fg_engines *es, struct fg_batcher_stats *out);
/* Fields of view computed by all engines so far. */
uint64_t fg_engines_steps(struct fg_engines *es);
/* An array with one object per engine in use: model, sha256, precision, steps,
 * steps_per_s and busy (0..1, share of device time) since the last call, waiting,
 * blocks, devices (name, detail, state, why); and one with model null for the devices
 * that no engine uses yet. */
json_t *fg_engines_describe(struct fg_engines *es) FG_MUST_USE;

#endif
