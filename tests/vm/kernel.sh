#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Unpacks the newest kernel of the group vm-kernel of apt-packages.txt into build/vm/kernel; does nothing when it is there.
# It is never installed: an installed kernel would change what this machine boots next, and would make an initramfs
# that nobody here needs. Prints the path of vmlinuz.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=build/vm/kernel
meta=$(sed -n 's/^vm-kernel: *//p' tests/setup/apt-packages.txt)

image() { apt-cache depends --important "$meta" 2>/dev/null | sed -n 's/^ *Depends: //p' | grep -m 1 '^linux-image-'; }

if ! [ -e "$target/.complete" ]; then
    rm -rf "$target" "$target.new"
    mkdir -p "$target.new"
    package=$(image) || { apt-get update -q >&2; package=$(image); }
    # A list older than the archive names a file that is gone: one update cures it.
    download() { (cd "$target.new" && apt-get download -q "$package" >&2); }
    download || { apt-get update -q >&2; package=$(image); download; }
    dpkg-deb -x "$target.new"/*.deb "$target.new"
    rm -f "$target.new"/*.deb
    for modules in "$target.new"/lib/modules/*; do
        /sbin/depmod -b "$target.new" "${modules##*/}"
    done
    touch "$target.new/.complete"
    mv "$target.new" "$target"
fi
ls "$target"/boot/vmlinuz-*
