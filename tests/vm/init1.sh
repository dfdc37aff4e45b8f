#!/bin/bash
# First half of PID 1, on the base disk: just enough to find the payload disk, which holds the rest (init2.sh), so that a change
# there costs no new base disk.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mountpoint -q /dev || mount -t devtmpfs -o nosuid devtmpfs /dev

# disk SERIAL prints the block device of the NVMe disk with that serial number; order of appearance means nothing.
disk() {
	local s i
	for ((i = 0; i < 100; i++)); do
		for s in /sys/block/nvme*; do
			[[ $(<"$s/device/serial") == "$1 "* || $(<"$s/device/serial") == "$1" ]] && echo "/dev/${s##*/}" && return
		done
		sleep 0.1
	done 2>/dev/null
	return 1
}

mount -o ro "$(disk tsubo-payload)" /opt/tsubo && . /opt/tsubo/vm/init2.sh
echo "no payload disk"
echo o >/proc/sysrq-trigger
sleep 60
