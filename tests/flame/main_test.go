package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

const script = `# a comment
exe  1234/1235  10.5:     250000 cpu-clock:ppp:
	ffffffff81 finish_task_switch+0x9a ([kernel.kallsyms])
	    4a2f10 gvisor.dev/gvisor/pkg/sentry/kernel.(*Task).run+0x1f (/usr/bin/runsc)

exe  1234/1235  10.6:     250000 cpu-clock:ppp:
	ffffffff82 do_futex+0x9a ([kernel.kallsyms])
	    4a2f10 gvisor.dev/gvisor/pkg/sentry/kernel.(*Task).run+0x1f (/usr/bin/runsc)

tsubod  99/99  10.7:     250000 cpu-clock:ppp:
	    7f0012 [unknown] (/tmp/x<y)

tsubod  99/99  10.8:     250000 cpu-clock:ppp:
	    4a2f10 main.boot+0x1 (/tsubod)
`

func TestRead(t *testing.T) {
	root, err := read(strings.NewReader(script), []string{"main.boot"})
	if err != nil {
		t.Fatal(err)
	}
	run := root.calls["[exe]"].calls["kernel.(*Task).run"]
	if root.samples != 3 || run.samples != 2 || run.calls["finish_task_switch"].samples != 1 || root.calls["[tsubod]"].samples != 1 {
		t.Errorf("%+v", root)
	}
}

func TestDrawIsXML(t *testing.T) {
	root, err := read(strings.NewReader(script), nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	draw(&out, root, "a < b & c")
	boxes := 0
	for d := xml.NewDecoder(&out); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "g" {
			boxes++
		}
	}
	if boxes != 8 {
		t.Errorf("%d boxes, want 8", boxes)
	}
}
