for (const k of Object.keys(process.env).sort()) if (!/^(TSUBO|TAKO)_/.test(k)) console.log(k, process.env[k]);
console.log(process.cwd(), process.umask(), process.getuid(), process.getgid(), process.getgroups(), process.version, process.arch, process.platform);
