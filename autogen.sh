#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes ./configure from a git checkout. Needs autoconf, automake and pkg-config.
cd "$(dirname "$0")" && exec autoreconf --install --warnings=all,no-obsolete
