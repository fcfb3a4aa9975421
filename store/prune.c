/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing rows of artefacts. Nothing is written to a slab: what was removed is known
 * by the rows that are left, so one transaction is all there is to it.
 */
#include "config.h"

#include "store/prune.h"

#include "store/store_impl.h"

static int
drop_rows(struct fg_store *s, const struct fg_row_name *rows, size_t n,
    uint64_t *dropped, uint64_t *bytes, struct fg_err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (i == n / 2)
			fg_crash_at(&s->crash, "prune-half");
		if (fg_index_drop(s->index, &rows[i], dropped, bytes, err) < 0)
			return -1;
	}
	return 0;
}

int
fg_store_drop(struct fg_store *s, const struct fg_row_name *rows, size_t n,
    uint64_t *dropped, uint64_t *bytes, struct fg_err *err)
{
	uint64_t count = 0, size = 0;

	fg_assert(s->index != NULL && n <= FG_DROP_MAX);
	for (size_t i = 0; i < n; i++)
		fg_assert(fg_kind_is_artefact(rows[i].key.kind));
	if (fg_index_begin(s->index, err) < 0)
		return -1;
	fg_crash_at(&s->crash, "prune-begun");
	if (drop_rows(s, rows, n, &count, &size, err) < 0) {
		fg_index_rollback(s->index);
		return -1;
	}
	fg_crash_at(&s->crash, "prune-before-commit");
	if (fg_index_commit(s->index, err) < 0)
		return -1;
	fg_crash_at(&s->crash, "prune-committed");
	if (dropped)
		*dropped = count;
	if (bytes)
		*bytes = size;
	return 0;
}
