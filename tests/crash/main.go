package main

import (
	"flag"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fatal("say store, tsubod, kill or log")
	}
	flags := flag.NewFlagSet("crash "+os.Args[1], flag.ExitOnError)
	var o startOptions
	r := rounds{}
	flags.Uint64Var(&o.seed, "seed", 1, "where randomness begins")
	flags.IntVar(&o.load, "load", 200, "submissions of a round")
	flags.StringVar(&o.dir, "dir", "", "where state is")
	flags.StringVar(&o.seeds, "seeds", "", "folder of a tsubod's imported images; filled when it is empty")
	switch os.Args[1] {
	case "store", "tsubod":
		flags.StringVar(&o.before, "before", "", "ledger of the start before, in a file")
		flags.BoolVar(&o.power, "power", false, "the start before was ended by a power cut")
		flags.StringVar(&o.mark, "mark", "", "device of dm-log-writes to be marked with every line")
		flags.IntVar(&o.kill, "kill", 0, "lines into the load after which SIGKILL comes; 0: never")
	case "kill", "log":
		flags.StringVar(&r.what, "what", "store", "store or tsubod")
		flags.IntVar(&r.count, "rounds", 2, "how many")
		flags.StringVar(&r.options, "mount", "", "mount options")
	default:
		fatal("no such command: %q", os.Args[1])
	}
	_ = flags.Parse(os.Args[2:])
	if flags.NArg() > 0 || o.dir == "" {
		fatal("usage: crash store|tsubod|kill|log -dir DIR [options]")
	}
	r.load, r.seed, r.dir, r.seeds = o.load, o.seed, o.dir, o.seeds
	r.rnd = dice(r.seed, 0)
	var err error
	switch os.Args[1] {
	case "store":
		err = storeMain(o)
	case "tsubod":
		err = tsubodMain(o)
	case "kill":
		err = r.kill()
	case "log":
		err = r.log()
	}
	if err != nil {
		fail(err)
	}
}
