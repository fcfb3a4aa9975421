/* SPDX-License-Identifier: Apache-2.0 */
/* TIFF and BigTIFF files: the bytes are the file. libtiff does the parsing; what we do
 * with sizes, types and pieces that it reports is ours. */
#include "config.h"

#include "tests/fuzz/foreign.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static char path[64];

	if (!path[0])
		snprintf(path, sizeof path, "/tmp/fg-fuzz-tiff-%d", (int)getpid());
	put_file(path, p, n);
	open_and_read("tiff", path);
	unlink(path);
	return 0;
}
