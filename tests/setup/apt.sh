#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages of the named groups of apt-packages.txt that are missing; does nothing when none is.
# Services that such a package brings are not started, now or at the next boot: charons, VPN servers and the like
# belong to the lab alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
missing=()
for group in "$@"; do
    while read -r name; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || missing+=("$name")
    done < <(sed -n "s/^$group: *//p" "$here/apt-packages.txt")
done
[ "${#missing[@]}" -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "missing Debian packages: ${missing[*]}" >&2
    echo "cure: run 'sudo make' again, or 'sudo apt-get install ${missing[*]}'" >&2
    exit 2
fi
echo "apt-get install: ${missing[*]}"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "${missing[@]}"
if command -v systemctl >/dev/null; then
    for name in "${missing[@]}"; do
        dpkg -L "$name" | sed -n 's#.*/systemd/system/\([^/@]*\.\(service\|socket\)\)$#\1#p'
    done | sort -u | xargs -r systemctl disable --quiet 2>/dev/null || true # static ones cannot be disabled
fi
