package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// Measures of the plot, in its own units.
const (
	plotWidth  = 760
	plotLeft   = 130
	plotRight  = 200
	plotTop    = 56
	plotRow    = 34
	plotBar    = 18
	plotBottom = 44
)

// plot draws one bar per row from its p50, on a logarithmic axis, with a line to its p99. Rows
// without a p50 are left out.
func plot(title, foot string, rows []*row) string {
	var shown []*row
	low, high := math.Inf(1), math.Inf(-1)
	for _, r := range rows {
		if r.Valid && r.P50.measured && r.P50.value > 0 {
			shown = append(shown, r)
			low, high = min(low, r.P50.value), max(high, r.P50.value, r.P99.value)
		}
	}
	var b strings.Builder
	height := plotTop + plotRow*len(shown) + plotBottom
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<text x="16" y="26" font-size="16" font-weight="bold" fill="#222222">%s</text>`+"\n", escape(title))
	if len(shown) > 0 {
		from, to := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
		if to <= from {
			to = from + 1
		}
		x := func(v float64) float64 {
			return plotLeft + (math.Log10(v)-from)/(to-from)*(plotWidth-plotLeft-plotRight)
		}
		for decade := from; decade <= to; decade++ {
			v := math.Pow(10, decade)
			fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#dddddd"/>`, x(v), plotTop-8, x(v), height-plotBottom+4)
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#666666">%g ms</text>`+"\n", x(v), plotTop-12, v)
		}
		for i, r := range shown {
			y := plotTop + i*plotRow
			fill := "#9aa5b1"
			if strings.HasPrefix(r.Name, "tsubo-") {
				fill = "#2b7a78"
			}
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="#222222">%s</text>`, plotLeft-10, y+14, escape(r.Name))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, plotLeft, y, max(1, x(r.P50.value)-plotLeft), plotBar, fill)
			end := r.P50.value
			if r.P99.measured && r.P99.value > end {
				end = r.P99.value
				fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#444444" stroke-width="2"/>`, x(r.P50.value), y+plotBar/2, x(end), y+plotBar/2)
			}
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#222222">%s</text>`+"\n", x(end)+8, y+14, escape(fmt.Sprintf("%v ms (p99 %v)", r.P50, r.P99)))
		}
	}
	fmt.Fprintf(&b, `<text x="16" y="%d" font-size="11" fill="#666666">%s</text>`+"\n</svg>\n", height-14, escape(foot))
	return b.String()
}

// escape makes text safe between tags and in attributes.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
