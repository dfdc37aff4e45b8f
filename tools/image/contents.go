package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// unwanted lists the paths that no job needs: documentation, translations, other systems'
// packaging, character set converters (Python has its own), copies of time zones under other names,
// and build tools.
var unwanted = strings.Fields(`
	boot usr/games usr/include usr/src
	etc/alternatives etc/bindresvport.blacklist etc/ca-certificates etc/cron.daily etc/default etc/dpkg etc/init.d
	etc/kernel
	etc/logcheck etc/skel etc/update-motd.d etc/python3.11
	usr/lib/python3.11/sitecustomize.py usr/lib/binfmt.d usr/lib/x86_64-linux-gnu/gconv usr/lib/aarch64-linux-gnu/gconv
	usr/lib/x86_64-linux-gnu/audit usr/lib/aarch64-linux-gnu/audit
	usr/sbin/iconvconfig usr/sbin/update-ca-certificates usr/sbin/zic usr/sbin/tarcat usr/bin/bashbug usr/bin/iconv
	usr/bin/ldd usr/bin/localedef usr/bin/pldd usr/bin/tzselect usr/bin/zdump
	usr/share/base-files usr/share/bash-completion usr/share/binfmts usr/share/bug usr/share/common-licenses
	usr/share/debianutils
	usr/share/dict usr/share/doc usr/share/doc-base usr/share/gcc usr/share/gdb usr/share/info usr/share/libc-bin
	usr/share/lintian
	usr/share/locale usr/share/man usr/share/menu usr/share/misc usr/share/nodejs/@types usr/share/pixmaps
	usr/share/systemtap usr/share/tabset
	usr/share/zoneinfo/posix usr/share/zoneinfo/right
	var`)

// prune removes the unwanted paths, and nis, the only module whose libraries (RPC, Kerberos) would
// dominate the size of the image's libraries.
func (t *tree) prune() {
	for _, name := range unwanted {
		t.remove(name)
	}
	for name := range t.entries {
		if strings.HasPrefix(name, "usr/lib/"+pythonName+"/lib-dynload/nis.") {
			delete(t.entries, name)
		}
	}
}

// fixups does the work of the packages' own scripts. It adds the links first, then the job's user
// and the mount points of a sandbox.
func (t *tree) fixups(links map[string]string) error {
	for name, to := range links {
		t.symlink(name, to)
	}
	t.symlink("usr/bin/awk", "mawk")
	if t.entries["usr/bin/sh"] == nil {
		t.symlink("usr/bin/sh", "dash")
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\nsandbox:x:1000:1000:sandbox:/home/sandbox:/bin/sh\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"etc/group":         "root:x:0:\ntty:x:5:\nsandbox:x:1000:\nnogroup:x:65534:\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
		"etc/hosts":         "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
		"etc/resolv.conf":   "",
		"etc/timezone":      "Etc/UTC\n",
	} {
		t.file(name, 0o644, []byte(text))
	}
	t.symlink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
	t.symlink("etc/mtab", "/proc/self/mounts")
	t.symlink("var/run", "/run")
	for _, d := range []string{"app", "code", "dev", "input", "output", "proc", "run", "sys", ".tsubo"} {
		t.remove(d)
		t.dir(d, 0o755)
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		t.put(d, &entry{kind: tar.TypeDir, mode: fs.ModeSticky | 0o777})
	}
	t.dir("root", 0o700)
	t.put("home/sandbox", &entry{kind: tar.TypeDir, mode: 0o755, id: 1000})
	return t.certificates()
}

// certificates joins the CA certificates in a bundle and removes the single files. It also links
// the bundle from OpenSSL's own directory, which comes with a package that the image lacks.
func (t *tree) certificates() error {
	const from, bundle = "usr/share/ca-certificates", "etc/ssl/certs/ca-certificates.crt"
	var all bytes.Buffer
	for _, name := range t.paths() {
		if strings.HasPrefix(name, from+"/") && strings.HasSuffix(name, ".crt") {
			all.Write(bytes.TrimRight(t.entries[name].data, "\n"))
			all.WriteByte('\n')
		}
	}
	if n := bytes.Count(all.Bytes(), []byte("-----BEGIN CERTIFICATE-----")); n < 50 {
		return fmt.Errorf("bundle the CA certificates: only %d in the package", n)
	}
	t.remove(from)
	t.file(bundle, 0o644, all.Bytes())
	t.symlink("usr/lib/ssl/certs", "/etc/ssl/certs")
	t.symlink("usr/lib/ssl/cert.pem", "/"+bundle)
	return nil
}

// checkLibraries returns an error for each shared library that a file needs and the image lacks.
func (t *tree) checkLibraries() error {
	var errs []error
	for _, name := range t.paths() {
		e := t.entries[name]
		if e.kind != tar.TypeReg || !bytes.HasPrefix(e.data, []byte(elf.ELFMAG)) {
			continue
		}
		f, err := elf.NewFile(bytes.NewReader(e.data))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		libs, err := f.ImportedLibraries()
		if err != nil {
			return fmt.Errorf("read what %s needs: %w", name, err)
		}
		sort.Strings(libs)
		for _, lib := range libs {
			if !t.resolves(path.Join(libDir(), lib)) && !t.resolves(path.Join("usr/lib64", lib)) {
				errs = append(errs, fmt.Errorf("%s needs %s, which no package of the image contains", name, lib))
			}
		}
	}
	return errors.Join(errs...)
}

// resolves reports whether name is a file, through symlinks.
func (t *tree) resolves(name string) bool {
	for range 10 {
		e := t.entries[clean(name)]
		switch {
		case e == nil:
			return false
		case e.kind != tar.TypeSymlink:
			return e.kind == tar.TypeReg
		case path.IsAbs(e.link):
			name = e.link
		default:
			name = path.Join(path.Dir(clean(name)), e.link)
		}
	}
	return false
}
