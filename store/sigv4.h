/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing GET requests for buckets: AWS Signature Version 4, as S3 and what is
 * compatible with it take it (AWS General Reference, "Signing AWS API requests").
 */
#ifndef FG_STORE_SIGV4_H
#define FG_STORE_SIGV4_H

#include "base/buf.h"
#include "base/err.h"

/* Who signs. token NULL: none. All strings are the caller's. */
struct fg_sigv4_key {
	const char *id, *secret, *token;
	const char *region, *service; /* "us-east-1", "s3" */
};

/*
 * The headers to add to a GET of `url` (http or https, its path percent-encoded as it
 * is sent, no user name), lines "Name: value\n": x-amz-content-sha256 (of no body),
 * x-amz-date, x-amz-security-token if there is a token, and Authorization.
 *   unix_s   now, seconds since 1970
 * Signed are Host and the x-amz headers. Other headers may be added freely.
 * Fails: FG_EINVAL if the URL is none.
 */
int fg_sigv4_headers(const struct fg_sigv4_key *key, const char *url, int64_t unix_s,
    struct fg_str *out, struct fg_err *err) FG_MUST_USE;

/*
 * The general form, for checking it against published examples: `headers` are lines
 * "name:value\n", names in lower case, sorted; `hashed` is the hex hash of the body.
 * The signature is written as 64 hex digits.
 */
void fg_sigv4_sign(const struct fg_sigv4_key *key, const char *method, const char *path,
    const char *query, const char *headers, const char *hashed, int64_t unix_s,
    char signature[65]);

#endif
