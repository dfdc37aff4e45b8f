package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// number is a measured figure; what was not measured is null, and the row's notes report why.
type number struct {
	value    float64
	measured bool
}

// measured is null for what is no number.
func measured(v float64) number {
	return number{v, !math.IsNaN(v) && !math.IsInf(v, 0)}
}

// MarshalJSON implements json.Marshaler, to three places.
func (n number) MarshalJSON() ([]byte, error) {
	if !n.measured {
		return []byte("null"), nil
	}
	return json.Marshal(math.Round(n.value*1000) / 1000)
}

func (n number) String() string {
	switch {
	case !n.measured:
		return "-"
	case math.Abs(n.value) >= 100:
		return fmt.Sprintf("%.0f", n.value)
	case math.Abs(n.value) >= 10:
		return fmt.Sprintf("%.1f", n.value)
	case math.Abs(n.value) >= 1:
		return fmt.Sprintf("%.2f", n.value)
	}
	return fmt.Sprintf("%.3f", n.value)
}

// row is one line of the comparison.
type row struct {
	Name       string   `json:"name"`
	P50        number   `json:"p50_ms"`
	P90        number   `json:"p90_ms"`
	P99        number   `json:"p99_ms"`
	Throughput number   `json:"throughput_per_s"`
	CPU        number   `json:"cpu_ms_per_job"`
	Samples    int      `json:"samples"`
	Min        number   `json:"min_ms"`
	P25        number   `json:"p25_ms"`
	P75        number   `json:"p75_ms"`
	Max        number   `json:"max_ms"`
	LeafCPU    number   `json:"leaf_cpu_ms_per_job"`
	Clients    int      `json:"throughput_clients"` // 0: not measured
	Inside     number   `json:"daemon_p50_ms"`      // of Timing.TotalMS, in whole milliseconds
	HitRate    number   `json:"hit_rate"`           // share of the samples that the row's own tier served
	Valid      bool     `json:"valid"`
	Notes      []string `json:"notes"`

	loads []loaded // all of its closed loops
}

func newRow(name string) *row { return &row{Name: name, Notes: []string{}} }

func (r *row) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// minHitRate is the share of a row's jobs that its tier must have served, or the row is no
// measurement of it.
const minHitRate = 0.99

// latencies fills in a one-client row. tier is what should have served it, "" for a row that has
// none.
func (r *row) latencies(samples []sample, tier string) {
	var took, cpu, leaf, inside []float64
	hits := 0
	for _, s := range samples {
		took = append(took, ms(s.took))
		if s.cpu >= 0 {
			cpu = append(cpu, ms(s.cpu))
		}
		if s.leaf >= 0 {
			leaf = append(leaf, ms(s.leaf))
		}
		if s.inside > 0 {
			inside = append(inside, ms(s.inside))
		}
		if s.tier == tier {
			hits++
		}
	}
	s := spreadOf(took)
	r.Samples = s.N
	r.P50, r.P90, r.P99 = measured(s.P50), measured(s.P90), measured(s.P99)
	r.Min, r.P25, r.P75, r.Max = measured(s.Min), measured(s.P25), measured(s.P75), measured(s.Max)
	r.Valid = s.N > 0
	if len(cpu) > 0 && len(cpu) == s.N {
		r.CPU = measured(spreadOf(cpu).Mean)
	} else {
		r.note("cpu_ms_per_job: not measured: its processes are not this program's")
	}
	if len(leaf) > 0 {
		r.LeafCPU = measured(spreadOf(leaf).Mean)
	}
	if s.N < 100 {
		r.note("p99 of %d samples is close to their maximum", s.N)
	}
	r.Inside = measured(spreadOf(inside).P50)
	switch {
	case tier == "":
	case s.N > 0:
		r.HitRate = measured(float64(hits) / float64(s.N))
		if float64(hits) < minHitRate*float64(s.N) {
			r.Valid = false
			r.note("INVALID: %d of %d jobs were served %s", hits, s.N, tier)
		}
	}
}

// throughput takes the best of a row's closed loops.
func (r *row) throughput(l loaded) {
	r.loads = append(r.loads, l)
	if v := measured(l.perSecond()); !r.Throughput.measured || v.value > r.Throughput.value {
		r.Throughput, r.Clients = v, l.clients
	}
}

// at is the row's closed loop of so many clients.
func (r *row) at(clients int) (loaded, bool) {
	for _, l := range r.loads {
		if l.clients == clients {
			return l, true
		}
	}
	return loaded{}, false
}

// report is build/bench.json.
type report struct {
	Mode     string           `json:"mode"` // "full" or "quick"
	When     string           `json:"when"`
	Security string           `json:"security_mode"`
	Host     map[string]any   `json:"host"`
	Versions map[string]any   `json:"versions"`
	Enforced any              `json:"enforced"`
	Rows     []*row           `json:"rows"`
	Ratios   map[string]ratio `json:"ratios"`
	Memory   map[string]any   `json:"memory"`
	Load     map[string]any   `json:"load"`
	Burst    map[string]any   `json:"burst"`
	Phases   map[string]any   `json:"runsc_phases"`
	Sweep    map[string]any   `json:"sweep"`
	Leaf     map[string]any   `json:"leaf_in_vm"`
	Notes    []string         `json:"notes"`
}

func (r *report) row(name string) *row {
	for _, one := range r.Rows {
		if one.Name == name {
			return one
		}
	}
	return nil
}

// invalid names the rows that are no measurement of what they are called.
func (r *report) invalid() []string {
	var names []string
	for _, one := range r.Rows {
		if !one.Valid && one.Samples > 0 {
			names = append(names, one.Name)
		}
	}
	return names
}

// outline writes a tree of figures, its innermost maps on one line each, in the order of their
// keys.
func outline(w io.Writer, indent string, tree map[string]any) {
	keys := slices.SortedFunc(maps.Keys(tree), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a)*digits(a), len(b)*digits(b)), strings.Compare(a, b)) // numbers by their size, behind words
	})
	for _, key := range keys {
		inner, is := tree[key].(map[string]any)
		switch {
		case !is:
			fmt.Fprintf(w, "%s%s: %v\n", indent, key, tree[key])
		case slices.ContainsFunc(slices.Collect(maps.Values(inner)), func(v any) bool { _, is := v.(map[string]any); return is }):
			fmt.Fprintf(w, "%s%s:\n", indent, key)
			outline(w, indent+"  ", inner)
		default:
			var words []string
			for _, k := range slices.Sorted(maps.Keys(inner)) {
				words = append(words, fmt.Sprintf("%s %v", k, inner[k]))
			}
			fmt.Fprintf(w, "%s%s: %s\n", indent, key, strings.Join(words, ", "))
		}
	}
}

// digits is 1 for a text of digits, else 0.
func digits(s string) int {
	if strings.Trim(s, "0123456789") == "" {
		return 1
	}
	return 0
}

// print writes the table and everything beside it.
func (r *report) print(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "ROW\tP50 ms\tP90\tP99\tP25–P75\tMIN\tDAEMON\tN\tHIT RATE\tPER SECOND\tCLIENTS\tCPU ms/job\tof it in the leaf\t")
	for _, one := range r.Rows {
		clients, hits := "-", "-"
		if one.Clients > 0 {
			clients = fmt.Sprint(one.Clients)
		}
		if one.HitRate.measured {
			hits = fmt.Sprintf("%.1f%%", 100*one.HitRate.value)
		}
		fmt.Fprintf(table, "%s\t%v\t%v\t%v\t%v–%v\t%v\t%v\t%d\t%s\t%v\t%s\t%v\t%v\t\n", one.Name, one.P50, one.P90, one.P99, one.P25, one.P75, one.Min,
			one.Inside, one.Samples, hits, one.Throughput, clients, one.CPU, one.LeafCPU)
	}
	_ = table.Flush() // an error of w shows in what follows
	for _, one := range r.Rows {
		for _, note := range one.Notes {
			fmt.Fprintf(w, "  %s: %s\n", one.Name, note)
		}
	}
	fmt.Fprintln(w, "\nRatios of this run:")
	table = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, t := range targets {
		one := r.Ratios[t.name]
		verdict := "not measured: " + one.Why
		if one.Met != nil {
			verdict = map[bool]string{true: "met", false: "MISSED"}[*one.Met]
		}
		fmt.Fprintf(table, "  %s\t%v%s\ttarget %s %v%s\t%s\n", t.what, one.Value, t.unit, t.sign(), measured(t.limit), t.unit, verdict)
	}
	_ = table.Flush()
	for _, part := range []struct {
		title string
		what  map[string]any
	}{
		{"Memory", r.Memory}, {"Open loop", r.Load}, {"Burst", r.Burst}, {"Where the time of a bare run goes", r.Phases},
		{"Sweep", r.Sweep}, {"A leaf, in the VM", r.Leaf}, {"Host", r.Host}, {"Versions", r.Versions},
	} {
		if len(part.what) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n", part.title)
		outline(w, "  ", part.what)
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, note)
	}
}
