/* SPDX-License-Identifier: Apache-2.0 */
/* NIfTI and .npy files, plain and gzipped: byte 0 says which, the rest is the file. */
#include "config.h"

#include "tests/fuzz/foreign.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static char path[64];

	if (n < 1)
		return 0;
	if (!path[0])
		snprintf(path, sizeof path, "/tmp/fg-fuzz-flat-%d", (int)getpid());
	put_file(path, p + 1, n - 1);
	open_and_read(p[0] & 1 ? "npy" : "nifti", path);
	unlink(path);
	return 0;
}
