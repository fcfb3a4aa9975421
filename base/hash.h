/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums: CRC-32C for stored records (and TensorFlow's masked form of it),
 * SHA-256 for what provenance names, XXH3 for entity tags and hash tables.
 */
#ifndef FG_BASE_HASH_H
#define FG_BASE_HASH_H

#include "base/base.h"

/* CRC-32C (Castagnoli) of p[0..n), continuing from crc (start with 0). Hardware
 * instruction where there is one. */
uint32_t fg_crc32c(uint32_t crc, const void *p, size_t n);

#define FG_SHA256_SIZE 32
#define FG_SHA256_HEX (2 * FG_SHA256_SIZE + 1)

void fg_sha256(const void *p, size_t n, uint8_t out[FG_SHA256_SIZE]);

/* Several pieces: begin, add..., end. The context is opaque, heap-held until end. */
struct fg_sha256;
struct fg_sha256 *fg_sha256_begin(void) FG_MUST_USE;
void fg_sha256_add(struct fg_sha256 *s, const void *p, size_t n);
void fg_sha256_end(struct fg_sha256 *s, uint8_t out[FG_SHA256_SIZE]); /* frees s */

/* HMAC-SHA-256 (RFC 2104) of p[0..n). */
void fg_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n,
    uint8_t out[FG_SHA256_SIZE]);

/* n bytes as lower-case hex with a NUL; out has 2 * n + 1 bytes. */
void fg_hex_format(const uint8_t *p, size_t n, char *out);
/* Exactly 2 * n hex digits into n bytes; false if the text is anything else. */
bool fg_hex_parse(const char *text, uint8_t *out, size_t n);

/* 64-bit XXH3 of p[0..n). */
uint64_t fg_hash64(const void *p, size_t n);

#endif
