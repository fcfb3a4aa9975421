/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of the index, as numbered steps. A step once released is never edited: a
 * change is one more step. All steps that a file lacks run in one transaction.
 */
#include "config.h"

#include "store/schema.h"

#include <stddef.h>

/* 64-bit unsigned numbers (at, id, off) are stored as two's complement. */
static const char step1[] =
    /* AUTOINCREMENT here and below: a number is never used again, so that what was
     * remembered under it can never mean something else. */
    "CREATE TABLE layers (layer INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT UNIQUE "
    "NOT NULL,"
    "  name TEXT UNIQUE NOT NULL, kind TEXT NOT NULL, info TEXT NOT NULL, source TEXT,"
    "  params INT, grid TEXT, paused INT NOT NULL DEFAULT 0,"
    "  merge_gen INT NOT NULL DEFAULT 0, mesh_epoch INT NOT NULL DEFAULT 0);"
    "CREATE TABLE params (params INTEGER PRIMARY KEY, sha256 BLOB UNIQUE NOT NULL,"
    "  json TEXT NOT NULL);"
    /* One row per task that ran: which task, and its provenance. */
    "CREATE TABLE runs (run INTEGER PRIMARY KEY AUTOINCREMENT, layer INT NOT NULL,"
    "  kind INT NOT NULL, scale INT NOT NULL, at INT NOT NULL, params INT, worker TEXT,"
    "  device TEXT, version TEXT, started INT, ended INT, stats TEXT, error TEXT);"
    "CREATE TABLE chunks (layer INT, scale INT, at INT, state INT NOT NULL, enc INT,"
    "  slab INT, off INT, len INT, crc INT, run INT,"
    "  PRIMARY KEY (layer, scale, at)) WITHOUT ROWID;"
    "CREATE TABLE blocks (layer INT, at INT, state INT NOT NULL, run INT,"
    "  tries INT NOT NULL DEFAULT 0, next_try INT, error TEXT,"
    "  PRIMARY KEY (layer, at)) WITHOUT ROWID;"
    "CREATE TABLE objects (layer INT, id INT, parent INT NOT NULL, size INT NOT NULL,"
    "  public INT, voxels INT, lo BLOB, hi BLOB, gen INT NOT NULL,"
    "  PRIMARY KEY (layer, id)) WITHOUT ROWID;"
    "CREATE TABLE object_blocks (layer INT, id INT, at INT, voxels INT,"
    "  PRIMARY KEY (layer, id, at)) WITHOUT ROWID;"
    "CREATE INDEX object_blocks_at ON object_blocks (layer, at);"
    "CREATE TABLE merges (layer INT, a INT, b INT, both INT, only_a INT, only_b INT,"
    "  state INT, run INT, PRIMARY KEY (layer, a, b)) WITHOUT ROWID;"
    "CREATE TABLE edits (edit INTEGER PRIMARY KEY, layer INT, who TEXT, at_time INT,"
    "  kind INT, a INT, b INT, undone INT);"
    "CREATE TABLE artefacts (layer INT, kind INT, scale INT, id INT, part INT, gen INT,"
    "  state INT NOT NULL, enc INT, slab INT, off INT, len INT, crc INT, run INT,"
    "  PRIMARY KEY (layer, kind, scale, id, part, gen)) WITHOUT ROWID;"
    "CREATE TABLE slabs (slab INTEGER PRIMARY KEY, path TEXT UNIQUE NOT NULL,"
    "  len INT NOT NULL, dead INT NOT NULL DEFAULT 0, closed INT NOT NULL DEFAULT 0);"
    "CREATE TABLE jobs (job INTEGER PRIMARY KEY, layer INT, box TEXT, stages TEXT,"
    "  class INT, state INT, created INT, updated INT, error TEXT);";

/* Components of objects (store/object.h). `parent` is a component's representative; the
 * columns size, public, gen, all_* and cut count on the representative alone. */
static const char step2[] =
    "ALTER TABLE objects ADD COLUMN all_voxels INT;"
    "ALTER TABLE objects ADD COLUMN all_lo BLOB;"
    "ALTER TABLE objects ADD COLUMN all_hi BLOB;"
    "ALTER TABLE objects ADD COLUMN cut INT NOT NULL DEFAULT 0;"
    "UPDATE objects SET all_voxels = voxels, all_lo = lo, all_hi = hi;"
    "CREATE INDEX objects_parent ON objects (layer, parent);"
    "CREATE INDEX objects_public ON objects (layer, public) WHERE parent = id;"
    "CREATE INDEX objects_voxels ON objects (layer, all_voxels) WHERE parent = id;"
    "CREATE INDEX merges_b ON merges (layer, b);"
    "CREATE INDEX edits_a ON edits (layer, a);"
    "CREATE INDEX edits_b ON edits (layer, b);";

/* Contacts that were flooded again; `at` is the block whose task did it. */
static const char step3[] =
    "CREATE TABLE contacts (layer INT, a INT, b INT, at INT, both INT, only_a INT,"
    "  only_b INT, x INT, y INT, z INT, recovered INT, deleted INT, state INT,"
    "  PRIMARY KEY (layer, a, b, at)) WITHOUT ROWID;"
    "CREATE INDEX contacts_b ON contacts (layer, b);"
    "CREATE INDEX contacts_at ON contacts (layer, at);";

/* Where an object's flood began, as lo and hi; NULL where it is not known. */
static const char step4[] = "ALTER TABLE objects ADD COLUMN seed BLOB;";

const char *const fg_schema_step[] = {step1, step2, step3, step4, NULL};
