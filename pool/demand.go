package pool

import (
	"math"
	"time"
)

// demand estimates the arrival rate of requests and the duration of a boot. The zero value has no
// observations.
type demand struct {
	rate float64   // arrivals per second, an exponential mean over memory
	at   time.Time // when rate was computed
	boot float64   // seconds, a moving mean; zero means no boot yet
}

// memory is the time constant of rate: an arrival of that age counts 1/e.
const memory = 10 * time.Second

// firstBoot is the assumed duration of a boot, in seconds, before the first boot.
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

// want returns how many sandboxes should wait: the arrivals during one boot, plus three standard
// deviations of a Poisson process.
func (d *demand) want(now time.Time, least, most int) int {
	d.decay(now)
	boot := d.boot
	if boot == 0 {
		boot = firstBoot
	}
	during := d.rate * boot
	if during < 0.01 { // no arrivals for a while
		return least
	}
	return max(least, min(most, int(math.Ceil(during+3*math.Sqrt(during)))))
}
