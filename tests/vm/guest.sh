#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs inside the virtual machine, as root: guest.sh REPOSITORY SHARE. The host's files are seen read-only, /tmp and
# /run are the guest's own, SHARE alone is written through to the host. What to run stands in SHARE/command, one word a line.
set -eu
repository=$1 share=$2 root=/run/host
exec >"$share/guest.log" 2>&1
echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s, $(uname -sr)"

# virtme-ng mounts the host's files without a cache: each import of a Python module is a walk through 9p. A second mount of the
# same files keeps what it has read; nothing on the host changes under it while the tests run.
mkdir -p $root
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,access=any,cache=loose trikesec.root $root
mount -t tmpfs -o mode=1777 tmp $root/tmp
mount --rbind /run $root/run
for tree in proc sys dev; do mount --rbind /$tree $root/$tree; done
modprobe -a virtio_blk squashfs
mkdir -p /run/python "$root$share"
mount -t squashfs -o ro /dev/vda /run/python
while read -r path; do mount --bind "/run/python$path" "$root$path"; done <"$share/python.paths"
mount --bind "$share" "$root$share"

# What opens a device or names a link type before the kernel could load it by itself; ESP and nftables load on demand.
modprobe -a tun veth
ip link set lo up

status=0
export PYTHONDONTWRITEBYTECODE=1 HOME=/root LANG=C.UTF-8 TRIKESEC_ESP=kernel TRIKESEC_PATIENCE=4
export PATH="$repository/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"
cd /
# shellcheck disable=SC2046  # one word a line, none with spaces
chroot $root /usr/bin/env -C "$repository" $(cat "$share/command") || status=$?
echo "guest: finished with $status after $(cut -d' ' -f1 /proc/uptime) s"
exit $status
