#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a stack of grey PNG files, with the standard library alone.

make_stack.py DIR WIDTH HEIGHT NUMBER... [--bits 16]

Section NUMBER is DIR/sNUMBER.png; pixel (x, y) is (3 x + 5 y + 7 NUMBER) mod 251.
"""
import argparse
import os
import struct
import zlib


def chunk(kind, data):
    body = kind + data
    return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))


def png(width, height, number, bits):
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        row = [(3 * x + 5 * y + 7 * number) % 251 for x in range(width)]
        rows += struct.pack('>%dH' % width, *row) if bits == 16 else bytes(row)
    header = struct.pack('>IIBBBBB', width, height, bits, 0, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) +
            chunk(b'IDAT', zlib.compress(bytes(rows))) + chunk(b'IEND', b''))


def main():
    p = argparse.ArgumentParser()
    p.add_argument('dir')
    p.add_argument('width', type=int)
    p.add_argument('height', type=int)
    p.add_argument('number', type=int, nargs='+')
    p.add_argument('--bits', type=int, default=8)
    a = p.parse_args()
    os.makedirs(a.dir, exist_ok=True)
    for n in a.number:
        with open(os.path.join(a.dir, 's%d.png' % n), 'wb') as f:
            f.write(png(a.width, a.height, n, a.bits))


main()
