# shellcheck shell=bash
# Shared by the scripts that build and start the throwaway VM: where caches are, how Debian packages get there, and how a
# missing host tool is installed. Sourced, never run. Needs apt, dpkg and coreutils; root only to install something.

vm_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vm_repo=$(cd "$vm_here/../.." && pwd)
vm_cache=${XDG_CACHE_HOME:-$HOME/.cache}/tsubo
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # mke2fs, debugfs and e2fsck live there, and users often lack it

# die MESSAGE... says what went wrong with the harness itself and ends with 125, which no payload of ours uses.
die() {
	echo "tests/vm: $*" >&2
	exit 125
}

# apt_lists makes sure that apt knows packages at all (a fresh container has no lists).
apt_lists() {
	apt-cache show bash >/dev/null 2>&1 && return
	[[ $(id -u) == 0 ]] || die "apt has no package lists; run 'apt-get update' as root"
	apt-get update -qq >&2 || die "apt-get update failed"
}

# need_tools TOOL:PACKAGE... installs the packages whose tool is missing, when root; else it says which are.
need_tools() {
	local pair missing=()
	for pair; do
		command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
	done
	[[ ${#missing[@]} -gt 0 ]] || return 0
	[[ $(id -u) == 0 ]] || die "missing Debian packages: ${missing[*]}; install them as root"
	(
		flock 9
		apt_lists
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
	) 9>"$vm_cache/apt.lock" || die "cannot install ${missing[*]}"
}

# solve_debs PACKAGE... prints the file names (name_version_arch.deb) of the packages and of all that they depend on, as for an
# empty system, one a line. Leaves out what is in $vm_drop (names, one a word).
solve_debs() {
	apt-get -o Dir::State::status=/dev/null -o Debug::NoLocking=1 -o APT::Get::Print-URIs=true \
		-y --no-install-recommends install "$@" 2>/dev/null |
		awk -v drop=" ${vm_drop-} " '/^\x27/ { n = $2; sub(/_.*/, "", n); if (!index(drop, " " n " ")) print $2 }' |
		LC_ALL=C sort
}

# fetch_debs FILE... downloads what the cache does not hold yet (apt verifies it) and prints the paths, in the given order.
fetch_debs() {
	local store=$vm_cache/debs f rest want=() tmp
	mkdir -p "$store"
	for f; do
		[[ -s $store/$f ]] && continue
		rest=${f#*_}
		rest=${rest%_*}
		want+=("${f%%_*}=${rest//%3a/:}")
	done
	if [[ ${#want[@]} -gt 0 ]]; then
		tmp=$(mktemp -d "$store/.get.XXXXXX") || return
		(cd "$tmp" && apt-get download -qq -o APT::Sandbox::User=root "${want[@]}" >&2 && mv -f ./*.deb "$store/")
		rest=$?
		rm -rf "$tmp"
		[[ $rest == 0 ]] || return 1
	fi
	for f; do
		[[ -s $store/$f ]] || { echo "apt did not deliver $f" >&2; return 1; }
		echo "$store/$f"
	done
}
