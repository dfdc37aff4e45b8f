# shellcheck shell=bash
# Second half of PID 1, from the payload disk: sets up what a host of tsubo has, runs the payload, and powers off. Sourced by
# init1.sh, which gives disk().
#
# Three channels lead to the host, none a terminal: ports out and err of a virtio console carry what the payload prints, byte
# for byte; port ctl carries "up SECONDS", "beat" now and then, and "exit STATUS" out, and "stop" in. The serial console holds the boot and stays on
# the host's side in a log.

mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mkdir -p /dev/pts /dev/shm
mount -t devpts -o nosuid,noexec,gid=0,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm
[[ -e /dev/fd ]] || ln -s /proc/self/fd /dev/fd
for n in 0:stdin 1:stdout 2:stderr; do [[ -e /dev/${n#*:} ]] || ln -s "/proc/self/fd/${n%:*}" "/dev/${n#*:}"; done

# As systemd leaves it: one unified hierarchy, the controllers handed down from the root, mounts shared.
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
echo "+cpuset +cpu +io +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
mount --make-rshared /
hostname -F /etc/hostname 2>/dev/null || echo tsubo-vm >/proc/sys/kernel/hostname
ip link set lo up
chown 1000:1000 /home/alice
chown 1001:1001 /home/mallory

mount --bind /opt/tsubo/local /usr/local
mount -o nodelalloc,commit=1 "$(disk tsubo-run)" /share
rmdir /share/lost+found 2>/dev/null
mapfile -t -d '' payload </share/.payload
rm -f /share/.payload
if [[ -e /share/.chown ]]; then
	rm -f /share/.chown
	chown -hR 0:0 /share
fi
if grep -qw tsubo.disk /proc/cmdline; then ln -s "$(disk tsubo-extra)" /dev/tsubo-disk; fi

modprobe -a virtio_pci virtio_console
port() {
	local p i
	for ((i = 0; i < 100; i++)); do
		for p in /sys/class/virtio-ports/*; do
			[[ $(<"$p/name") == "$1" && -c /dev/${p##*/} ]] && echo "/dev/${p##*/}" && return
		done 2>/dev/null
		sleep 0.05
	done
}
exec 3<>"$(port ctl)"

# The payload writes into pipes, so that /dev/stdout can be opened again, as it often is in scripts; a relay empties each.
mkfifo /run/out /run/err
cat /run/out >"$(port out)" 3>&- & relay_out=$!
cat /run/err >"$(port err)" 3>&- & relay_err=$!
exec 4>/run/out 5>/run/err
rm -f /run/out /run/err

read -r up _ </proc/uptime
echo "up $up" >&3
(
	cd /root || exit 125
	exec 3>&-
	exec env -i HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 TERM=dumb PATH="$PATH" \
		setsid "${payload[@]}" </dev/null >&4 2>&5 4>&- 5>&-
) & main=$!
( # a sign of life; who does not see it for long takes the VM for hung
	exec 4>&- 5>&-
	while sleep 10; do echo beat >&3; done
) &
(
	exec 4>&- 5>&-
	while read -r line <&3 && [[ $line != stop ]]; do :; done
) & stop=$!
wait -n -p ended "$main" "$stop"
status=$?
if [[ $ended == "$stop" ]]; then
	status=stopped
	{
		echo "what was running in the VM (kernel threads left out):"
		ps -o pid,ppid,stat,etimes,cputimes,wchan:24,args --cols 160 --ppid 2 -p 2 -N
		echo "warnings of the VM's kernel:"
		dmesg --level=warn+ | tail -n 40
	} >&5
fi
exec 4>&- 5>&-

# Whatever the payload left running ends here, so that the relays come to their end of file.
for ((round = 0; round < 50; round++)); do
	left=0
	for p in /proc/[0-9]*; do
		p=${p#/proc/}
		[[ $p == 1 || $p == "$relay_out" || $p == "$relay_err" || ! -e /proc/$p/exe ]] && continue
		kill -9 "$p" 2>/dev/null && left=1
	done
	[[ $left == 0 ]] && break
	sleep 0.05
done
wait "$relay_out" "$relay_err"
echo "exit $status" >&3
umount /share || { sync; mount -o remount,ro /share; }
sync
echo o >/proc/sysrq-trigger
while :; do sleep 60; done
