#!/bin/sh
# Builds one small program for guests. See ../README.md for the variables. It is linked to nothing
# that the guest would have to bring: it must start fast and run whatever a guest's libraries are.
set -eu

echo '== step: compile'
mkdir -p "$OUT/root/usr/libexec/fallout"
# shellcheck disable=SC2086 # flags are words
"${CROSS_COMPILE}gcc" $CFLAGS -Os -Wall -Wextra -static -s -o "$OUT/root/usr/libexec/fallout/awake" "$RECIPE/awake.c"
