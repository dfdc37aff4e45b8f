# shellcheck shell=bash
# The two small disks of a run. Sourced by run, after common.sh; uses $work.

# runsc_path prints where the cache has the runsc of this tree.
runsc_path() {
	make -s --no-print-directory -C "$vm_repo" CACHE="$vm_cache" runsc-path
}

# make_payload FILE makes the read-only disk with our programs, runsc, the images and init2.sh, out of what is built by now, or
# links the one in the cache when nothing changed.
make_payload() {
	local runsc=${TSUBO_RUNSC:-$(runsc_path)} stage=$work/stage key size img f
	[[ -x $runsc ]] || runsc=''
	key=$({
		cat "$vm_here"/{init2.sh,payload.sh}
		find -L "$vm_repo/build/bin" "$vm_repo/build/images" $runsc -type f -printf '%p %s %T@ %C@ %m\n' 2>/dev/null | LC_ALL=C sort
	} | sha256sum | cut -c1-16)
	img=$vm_cache/vm/payload-$key.img
	if ! ln "$img" "$1" 2>/dev/null; then
		mkdir -p "$stage"/{vm,images,more-images,local/{bin,sbin,lib/tsubo,etc,share}} || return
		cp "$vm_here/init2.sh" "$stage/vm/" || return
		for f in "$vm_repo"/build/bin/*; do
			[[ -f $f && -r $f ]] || continue # build/bin/runsc may lead into another user's cache
			cp -L "$f" "$stage/local/bin/" || return
		done
		# Every daemon of a test imports what is in images, and an import takes its time under emulation: only the default image is there.
		for f in "$vm_repo"/build/images/*/; do
			[[ -d $f ]] || continue
			if [[ $(basename "$f") == python ]]; then cp -r "$f" "$stage/images/"; else cp -r "$f" "$stage/more-images/"; fi || return
		done
		[[ $runsc ]] && { cp "$runsc" "$stage/local/bin/runsc" && chmod 755 "$stage/local/bin/runsc" || return; }
		[[ -d $vm_repo/build/bin/gvisor-bin ]] && { cp -r "$vm_repo/build/bin/gvisor-bin" "$stage/local/lib/tsubo/" || return; }
		[[ -e $stage/local/bin/tsubo-init ]] && { ln "$stage/local/bin/tsubo-init" "$stage/local/lib/tsubo/tsubo-init" || return; }
		size=$(du -sk "$stage" | cut -f1)
		mke2fs -q -t ext4 -O ^has_journal -L payload -m 0 -E nodiscard,root_owner=0:0 -d "$stage" "$work/payload.tmp" \
			$((size + size / 8 + 16384))k >"$work/mke2fs.log" || return
		rm -rf "$stage"
		# Several runs may make the same one: each its own, the last rename stays.
		ln "$work/payload.tmp" "$1" && mv "$work/payload.tmp" "$img" || return
	fi
	touch "$img" 2>/dev/null
	# One is about 300 MB: the newest three stay. A run holds a link of its own.
	find "$vm_cache/vm" -maxdepth 1 -name 'payload-*.img' -printf '%T@ %p\n' | sort -rn | tail -n +4 | cut -d' ' -f2- |
		while read -r img; do rm -f "$img"; done
	return 0
}

# make_run_disk FILE DIR CMD... makes the writable disk that becomes /share: a copy of DIR (or nothing), room for /share/out, and
# the command.
make_run_disk() {
	local file=$1 dir=$2 size=1024
	shift 2
	printf '%s\0' "$@" >"$work/payload.args"
	[[ $dir ]] && size=$(du -sk --apparent-size "$dir" | cut -f1)
	mke2fs -q -t ext4 -L run -m 0 -E nodiscard,root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1 ${dir:+-d "$dir"} "$file" \
		$((size + size / 8 + 1048576))k >"$work/mke2fs.log" || return
	{
		echo "write $work/payload.args .payload"
		# Files of a caller who is not root would belong to some user of the VM.
		[[ $(id -u) == 0 ]] || echo "write /dev/null .chown"
	} >"$work/payload.debugfs"
	debugfs -w -f "$work/payload.debugfs" "$file" >"$work/debugfs.log" 2>&1 && ! grep -iE 'no such|error|could not|denied' "$work/debugfs.log" >&2
}

# take_out FILE DIR copies /share/out of that disk to DIR/out, if there is one. What the VM left there is not trusted: no setuid
# bit comes out, and nothing is written through a link.
take_out() {
	e2fsck -fy "$1" >"$work/e2fsck.log" 2>&1
	[[ $? -le 2 ]] || { tail -n 5 "$work/e2fsck.log" >&2; return 1; }
	debugfs -R 'stat /out' "$1" 2>/dev/null | grep -q 'Type: directory' || return 0
	mkdir "$work/back" && debugfs -R "rdump /out \"$work/back\"" "$1" >"$work/debugfs.log" 2>&1 || return
	chmod -R u+rwX,a-s "$work/back" || return
	[[ ! -L $2/out ]] || rm -f "$2/out" || return
	mkdir -p "$2/out" && cp -a --remove-destination "$work/back/out/." "$2/out/"
}
