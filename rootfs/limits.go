package rootfs

import "time"

// Limits limits the resources of one build. Zero fields mean the default; there is no "unlimited".
type Limits struct {
	UnpackedBytes int64         // bytes of all layers' tar streams together, and of all files together; default 8 GiB
	Entries       int           // tar entries of all layers together; default 1,000,000
	Layers        int           // default 256
	PathBytes     int           // bytes of one entry's path or link target; default 4095 (PATH_MAX)
	Depth         int           // path elements of one entry; default 128
	ZstdWindow    uint64        // largest zstd window, bytes; default 64 MiB
	Memory        uint64        // data segment of each child, bytes (RLIMIT_DATA); default 1 GiB
	CPU           time.Duration // processor time of each child, whole seconds (RLIMIT_CPU); default 10 min
	Wall          time.Duration // duration of one build; default 15 min
}

func (l Limits) withDefaults() Limits {
	def := Limits{
		UnpackedBytes: 8 << 30, Entries: 1_000_000, Layers: 256, PathBytes: 4095, Depth: 128,
		ZstdWindow: 64 << 20, Memory: 1 << 30, CPU: 10 * time.Minute, Wall: 15 * time.Minute,
	}
	orDefault(&l.UnpackedBytes, def.UnpackedBytes)
	orDefault(&l.Entries, def.Entries)
	orDefault(&l.Layers, def.Layers)
	orDefault(&l.PathBytes, def.PathBytes)
	orDefault(&l.Depth, def.Depth)
	orDefault(&l.ZstdWindow, def.ZstdWindow)
	orDefault(&l.Memory, def.Memory)
	orDefault(&l.CPU, def.CPU)
	orDefault(&l.Wall, def.Wall)
	return l
}

func orDefault[T int | int64 | uint64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}
