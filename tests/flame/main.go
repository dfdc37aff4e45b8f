// Command flame draws the stacks that `perf script` prints as a flame graph in SVG: a box for each
// frame, as wide as the share of samples that it was in, callers below. It is how the pictures in
// docs/performance.md are made:
//
//	perf record -F 4000 -g -p PIDS -- CLIENT
//	perf script | go run ./tests/flame -title 'what' >docs/flame-what.svg
package main

import (
	"bufio"
	"flag"
	"fmt"
	"html"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	title := flag.String("title", "", "text above the picture")
	skip := flag.String("skip", "", "samples with a frame that contains one of these words, separated by commas, are left out")
	flag.Parse()
	var words []string
	if *skip != "" {
		words = strings.Split(*skip, ",")
	}
	root, err := read(os.Stdin, words)
	if err == nil && root.samples == 0 {
		err = fmt.Errorf("no samples: feed it the output of perf script")
	}
	if err == nil {
		out := bufio.NewWriter(os.Stdout)
		draw(out, root, *title)
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "flame:", err)
		os.Exit(1)
	}
}

// frame is one function with everything that it called.
type frame struct {
	name    string
	samples int
	calls   map[string]*frame
}

func (f *frame) call(name string) *frame {
	c := f.calls[name]
	if c == nil {
		c = &frame{name: name, calls: map[string]*frame{}}
		f.calls[name] = c
	}
	return c
}

// read takes what perf script prints: for each sample a line that begins with the name of the
// process, a line for each frame, the innermost first, and an empty one.
func read(r io.Reader, skip []string) (*frame, error) {
	root := &frame{name: "all", calls: map[string]*frame{}}
	var stack []string
	end := func() {
		if len(stack) == 0 || slices.ContainsFunc(stack, func(s string) bool {
			return slices.ContainsFunc(skip, func(w string) bool { return strings.Contains(s, w) })
		}) {
			stack = nil
			return
		}
		f := root
		f.samples++
		f = f.call(stack[0])
		f.samples++
		for i := len(stack) - 1; i > 0; i-- {
			f = f.call(stack[i])
			f.samples++
		}
		stack = nil
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			end()
		case line[0] != ' ' && line[0] != '\t':
			end()
			name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			stack = []string{"[" + name + "]"}
		case len(stack) > 0:
			stack = append(stack, symbol(line))
		}
	}
	end()
	return root, lines.Err()
}

// symbol is the function of a line "address name+offset (file)".
func symbol(line string) string {
	_, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	name, file, _ := strings.Cut(rest, " (")
	if i := strings.LastIndex(name, "+0x"); i > 0 {
		name = name[:i]
	}
	if name == "[unknown]" {
		name = "(" + file
	}
	if i := strings.LastIndex(name, "/"); i >= 0 && i < len(name)-1 {
		name = name[i+1:]
	}
	return name
}

const (
	width  = 1200
	height = 17 // of a row
	narrow = 1  // a box under so many pixels is not drawn, nor is what it called
)

func draw(w io.Writer, root *frame, title string) {
	deep := depth(root, width)
	total := (deep + 2) * height
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="monospace" font-size="11">`+"\n", width, total, width, total)
	fmt.Fprintf(w, `<rect width="%d" height="%d" fill="#fffdf6"/><text x="6" y="13">%s (%d samples)</text>`+"\n", width, total, html.EscapeString(title), root.samples)
	box(w, root, 0, width, total-height)
	fmt.Fprintln(w, "</svg>")
}

func depth(f *frame, px float64) int {
	deepest := 0
	for _, c := range f.calls {
		if own := px * float64(c.samples) / float64(f.samples); own >= narrow {
			deepest = max(deepest, depth(c, own))
		}
	}
	return deepest + 1
}

func box(w io.Writer, f *frame, x, px float64, y int) {
	fmt.Fprintf(w, `<g><title>%s, %d</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`,
		html.EscapeString(f.name), f.samples, x, y, max(px-0.5, 0.3), height-1, color(f.name))
	if room := int(px / 6.8); room > 3 {
		name := f.name
		if len(name) > room {
			name = name[:room-1] + "…"
		}
		fmt.Fprintf(w, `<text x="%.1f" y="%d">%s</text>`, x+2, y+12, html.EscapeString(strings.ToValidUTF8(name, "")))
	}
	fmt.Fprintln(w, "</g>")
	names := make([]string, 0, len(f.calls))
	for name := range f.calls {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c := f.calls[name]
		own := px * float64(c.samples) / float64(f.samples)
		if own >= narrow {
			box(w, c, x, own, y-height)
		}
		x += own
	}
}

// color reports what a frame is part of: a process, the sentry, Go's runtime, or else the kernel
// and what has no name.
func color(name string) string {
	switch {
	case strings.HasPrefix(name, "["):
		return "#c9c2ae"
	case strings.HasPrefix(name, "systrap.") || strings.HasPrefix(name, "kernel.") || strings.HasPrefix(name, "vfs."):
		return "#e8a33d"
	case strings.HasPrefix(name, "runtime."):
		return "#f2d492"
	case strings.Contains(name, "."):
		return "#e07b4f"
	}
	return "#9db7c9"
}
