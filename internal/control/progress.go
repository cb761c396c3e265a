package control

import (
	"fmt"
	"math"
	"time"
)

// Left is how long the work will still take at its rate, 0 where that is not
// known.
func (p Progress) Left() time.Duration {
	if p.Rate <= 0 || p.Total <= p.Done {
		return 0
	}
	seconds := min(float64(p.Total-p.Done)/float64(p.Rate), math.MaxInt32)
	return time.Duration(seconds * float64(time.Second)).Round(time.Second)
}

// Amount is how far the work has come in words, for example "1.2 GB of 5.0 GB
// (24 %), 95.0 MB/s, 40s left"; "" where there is nothing to say.
func (p Progress) Amount() string {
	if p.Total == 0 && p.Done == 0 {
		return ""
	}
	text := Size(p.Done)
	if p.Total > 0 {
		text += fmt.Sprintf(" of %s (%d %%)", Size(p.Total), p.Percent())
	}
	if p.Rate > 0 {
		text += ", " + Size(p.Rate) + "/s"
	}
	if left := p.Left(); left > 0 {
		text += ", " + left.String() + " left"
	}
	return text
}

// Percent is how much of the work is done, as far as that is known. A total is
// an estimate, and what is not finished is not all done.
func (p Progress) Percent() int {
	if p.Total <= 0 {
		return 0
	}
	return int(min(100, p.Done*100/p.Total))
}

// Size writes bytes with PostgreSQL's units, which are powers of 1024.
func Size(bytes int64) string {
	value, unit := float64(bytes), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	if unit == "B" || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
