#!/bin/bash
# The first process of one host of the test bed (pid 1 of its pid namespace): gives the host its own hostname, boot id,
# /proc, /sys, /dev/shm and names of other hosts, says "ready", reaps orphans, and ends, and with it the host, when its standard input does.
#   host_init.sh FOLDER_OF_THE_HOST NAME    (started by warden.py in fresh namespaces)
set -euo pipefail
dir=$1 name=$2

hostname "$name"
# /sys shows the network devices of the namespace that mounts it; the control groups of the machine stay where they are.
mkdir -p "$dir/cgroup"
mount --rbind /sys/fs/cgroup "$dir/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$dir/cgroup" /sys/fs/cgroup
umount -l "$dir/cgroup"
rmdir "$dir/cgroup"
mount -t proc proc /proc
mount -t tmpfs -o mode=1777,nosuid,nodev tutti-shm /dev/shm
mount --bind "$dir/boot_id" /proc/sys/kernel/random/boot_id
for file in hosts hostname; do
  [[ ! -e /etc/$file ]] || mount --bind "$dir/$file" "/etc/$file"
done
# Addresses are usable at once, without duplicate detection; links carry no router's news.
for name in all default; do
  echo 0 >"/proc/sys/net/ipv6/conf/$name/accept_dad"
  echo 0 >"/proc/sys/net/ipv6/conf/$name/accept_ra"
done
# An answer comes from the device that has the address, as between hosts with a switch per rail.
echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
ip link set lo up

echo ready
exec >/dev/null
trap '' HUP INT QUIT TERM
read -r _ || true
