package pool

import (
	"math"
	"time"
)

// demand follows how often something is asked for and how long it takes to make one. The zero value
// has seen nothing.
type demand struct {
	rate float64   // arrivals a second, an exponential mean over memory
	at   time.Time // when rate was true
	boot float64   // seconds, a moving mean; 0: none seen
}

// memory is how fast old arrivals are forgotten: after this time they count 1/e.
const memory = 10 * time.Second

// firstBoot is what a boot is taken to last before one was seen, in seconds.
const firstBoot = 0.3

func (d *demand) decay(now time.Time) {
	if dt := now.Sub(d.at); dt > 0 && !d.at.IsZero() {
		d.rate *= math.Exp(-dt.Seconds() / memory.Seconds())
	}
	d.at = now
}

func (d *demand) arrived(now time.Time) {
	d.decay(now)
	d.rate += 1 / memory.Seconds()
}

func (d *demand) booted(took time.Duration) {
	if d.boot == 0 {
		d.boot = took.Seconds()
		return
	}
	d.boot += (took.Seconds() - d.boot) / 4
}

// want is how many should wait: what arrives while one boots, and three standard deviations of a
// Poisson process beyond it.
func (d *demand) want(now time.Time, least, most int) int {
	d.decay(now)
	boot := d.boot
	if boot == 0 {
		boot = firstBoot
	}
	during := d.rate * boot
	if during < 0.01 { // nobody has come for a while
		return least
	}
	return max(least, min(most, int(math.Ceil(during+3*math.Sqrt(during)))))
}
