package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// nodeFlavour contains Debian's nodejs and the packages that hold parts of its library.
var nodeFlavour = flavour{
	packages: `
	libbrotli1 libc-ares2 libicu72 libnghttp2-14 libnode108 libuv1
	node-acorn node-busboy node-cjs-module-lexer node-undici node-xtend nodejs`,
	library: "libnode.so.108",
	cmd:     "node",
	finish: func(_ *tree, root string) error {
		if out, err := inside(root, "/usr/bin/node", "-e", requireAll).CombinedOutput(); err != nil {
			return fmt.Errorf("load Node's library: %w: %s", err, tail(out))
		}
		return nil
	},
}

// requireAll loads every module of Node's own library and the modules that need other packages'
// files.
const requireAll = `
const assert = require("assert"), { builtinModules } = require("module");
assert(builtinModules.length > 50);
for (const name of builtinModules) if (!/^(_|wasi$)/.test(name)) require(name);
const { brotliCompressSync, brotliDecompressSync, gzipSync, gunzipSync } = require("zlib");
assert.equal(gunzipSync(gzipSync("x")).toString() + brotliDecompressSync(brotliCompressSync("y")), "xy");
assert.equal(require("crypto").createHash("sha3-256").update("").digest().length, 32);
assert.equal(new Intl.NumberFormat("de-DE").format(1234.5), "1.234,5");
assert.equal(new Intl.DateTimeFormat("ja-JP", { timeZone: "Asia/Tokyo", dateStyle: "full" }).format(0),
	"1970年1月1日木曜日");
assert.equal(typeof fetch + typeof FormData + new Headers({ a: "b" }).get("a"), "functionfunctionb");
assert.equal(require("fs").readFileSync("/etc/ssl/certs/ca-certificates.crt", "latin1").slice(0, 5), "-----");
import("fs").then((fs) => assert(fs.default.readFileSync)).catch((e) => { console.error(e); process.exit(1); });
`

// inside returns a command that runs with root as its /, without the caller's environment. Without
// root privileges it runs in a user namespace.
func inside(root string, argv ...string) *exec.Cmd {
	cmd := &exec.Cmd{
		Path:        argv[0],
		Args:        argv,
		Dir:         "/",
		Env:         []string{"PATH=/usr/bin", "LANG=C.UTF-8"},
		SysProcAttr: &syscall.SysProcAttr{Chroot: root},
	}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	return cmd
}
