package guest

import (
	"github.com/tsubo-run/tsubo/frames"
)

// release starts the code: it sends the job to the parked interpreter, or starts the command.
// Started follows afterwards, so that the daemon and the interpreter wake up at the same time. It
// still precedes all output, which init does not read until then.
func (g *guest) release() *failure {
	if g.boot.Language.Waits() {
		if err := writeAll(g.job.hook, g.jobMessage()); err != nil {
			return g.diedEarly()
		}
		closeFD(&g.job.hook)
	} else {
		env := overlay(g.boot.Env, g.spec.Env)
		argv := append(g.boot.Argv[:len(g.boot.Argv):len(g.boot.Argv)], g.spec.Args...)
		path, ok := lookPath(argv[0], env)
		if !ok {
			return fail(frames.StageExec, argv[0]+" not found in PATH", nil)
		}
		if f := g.start(path, argv, env, nil); f != nil {
			return f
		}
	}
	if g.out.Send(frames.Started{}) != nil {
		return closed
	}
	return nil
}
