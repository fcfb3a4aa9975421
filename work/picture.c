/* SPDX-License-Identifier: Apache-2.0 */
/* Image and mask of a box: see the header. */
#include "config.h"

#include "work/picture.h"

int
fg_picture_read(const struct fg_layer *l, const struct fg_box *box,
    struct fg_array *image, struct fg_array *mask, struct fg_err *err)
{
	int64_t shape[4] = {1, 1, 1, 1};

	fg_box_shape(box, shape);
	if (fg_array_init(image, l->image->info.dtype, shape, err) < 0 ||
	    fg_array_init_zero(mask, FG_U8, shape, err) < 0)
		return -1;
	if (fg_source_box(l->image->source, l->image_scale, box, image, mask, err) < 0)
		return fg_err_prefix(err, "image %s", l->image->name);
	if (fg_array_is_zero(mask))
		fg_array_fini(mask);
	return 0;
}
