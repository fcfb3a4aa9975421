/* SPDX-License-Identifier: Apache-2.0 */
/* Meshes and skeletons of an export. Internal to work/export.c. */
#ifndef FG_WORK_EXPORT_OBJECTS_H
#define FG_WORK_EXPORT_OBJECTS_H

#include "work/export.h"
#include "work/export_log.h"

struct fg_reader;

/*
 * Write the folders that x asks for (mesh, skeletons), all of their files, and enter
 * them. What a stopped export has written is written again. n counts objects.
 * Limit: 2^24 objects of a layer, sharded (their keys are sorted in memory).
 */
int fg_export_objects(const struct fg_export *x, struct fg_reader *r,
    struct fg_export_log *log, struct fg_export_object_counts *n,
    struct fg_err *err) FG_MUST_USE;

#endif
